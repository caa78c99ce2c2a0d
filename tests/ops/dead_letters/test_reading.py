"""What a list says about a dead letter, and which topics a filter looks into."""

import json

import pytest

from ops.dead_letters.filters import Filter
from ops.dead_letters.reading import found_letter
from schemas.dead_letters import DeadLetterKind
from tests.ops.dead_letters.letters import INVALID, POISON, REJECTED, raw


def test_a_rejection_in_json() -> None:
    found = found_letter("edits.rejected", raw("p.edits.rejected", REJECTED))
    assert json.loads(json.dumps(found.to_json())) == {
        "stage": "edits",
        "kind": "rejected",
        "reason": "too_long",
        "attempt": 1,
        "id": "c1",
        "caption_id": "c1",
        "scores": {
            "added_words": {
                "value": 11.0,
                "low": -8.0,
                "high": 8.0,
                "low_inclusive": True,
                "high_inclusive": False,
                "passes": False,
            }
        },
        "source": {"topic": "p.captions", "partition": 3, "offset": 17},
        "failed_at": 1_700_000_001.5,
        "error": None,
    }


def test_an_error_is_named_in_a_line() -> None:
    assert (
        found_letter("edits.failed", raw("p.edits.failed", POISON)).to_json()["error"] == "ValueError: bad \u202ething"
    )
    assert found_letter("edits.failed", raw("p.edits.failed", INVALID)).to_json()["error"] == "7 bytes are not msgpack"


def test_an_input_that_does_not_decode_has_no_id() -> None:
    assert found_letter("edits.failed", raw("p.edits.failed", INVALID, value=b"\xc1junk")).to_json()["id"] is None
    assert found_letter("ingest.failed", raw("p.ingest.failed", INVALID)).to_json()["id"] is None


@pytest.mark.parametrize("key", [None, b"\xff"])
def test_a_key_that_is_no_text_names_no_caption(key: bytes | None) -> None:
    assert found_letter("edits.failed", raw("p.edits.failed", INVALID, key=key)).to_json()["caption_id"] is None


def test_a_record_that_is_no_dead_letter_is_listed_as_one_that_is_broken() -> None:
    found = found_letter("edits.rejected", raw("p.edits.rejected", None, value=None))
    entry = found.to_json()
    assert (entry["kind"], entry["reason"], entry["source"]) == (None, None, None)
    assert "not a dead letter" in entry["error"]
    assert Filter().wants(found.letter, b"c1")
    assert not Filter(reason="too_long").wants(found.letter, b"c1")


@pytest.mark.parametrize(
    ("wanted", "topics"),
    [
        (Filter(stage="boxes"), ["boxes.rejected", "boxes.failed"]),
        (Filter(stage="boxes", kind=DeadLetterKind.POISON), ["boxes.failed"]),
        (Filter(stage="boxes", kind=DeadLetterKind.REJECTED), ["boxes.rejected"]),
        (Filter(stage="ingest"), ["ingest.failed"]),
        (Filter(stage="ingest", kind=DeadLetterKind.REJECTED), []),
    ],
)
def test_only_topics_that_can_hold_the_wanted_ones_are_read(wanted: Filter, topics: list[str]) -> None:
    assert wanted.topics() == topics


def test_all_topics_come_in_the_order_of_the_stream() -> None:
    topics = Filter().topics()
    assert topics[:3] == ["ingest.failed", "edits.rejected", "edits.failed"]
    assert len(topics) == 13


def test_kind_and_reason_are_looked_for() -> None:
    found = found_letter("edits.failed", raw("p.edits.failed", POISON))
    assert Filter(kind=DeadLetterKind.POISON, reason="exception").wants(found.letter, b"c1")
    assert not Filter(kind=DeadLetterKind.INVALID).wants(found.letter, b"c1")
    assert not Filter(reason="crash").wants(found.letter, b"c1")
