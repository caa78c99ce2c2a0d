"""Everything about a dead letter, and nothing that steers a terminal."""

import pytest

from ops.dead_letters.reading import found_letter
from ops.dead_letters.showing import save_images, show, utc, verdict, window
from schemas.edits import Edit
from schemas.invalid import InvalidRecord
from schemas.scores import Bounds
from schemas.trail import Candidate, ModelId, TrailStep
from tests.ops.dead_letters.letters import CAPTION, INVALID, POISON, REJECTED, SCHEMA, raw


def test_a_rejection_shows_its_scores_against_their_bounds() -> None:
    text = "\n".join(show(found_letter("edits.rejected", raw("p.edits.rejected", REJECTED))))
    assert "dead letter p.edits.rejected/3/5" in text
    assert "reason   too_long" in text
    assert "input    p.captions/3/17" in text
    assert "FAIL added_words: 11 too high for [-8, 8)" in text
    assert "caption: A dog on a couch." in text
    assert "schema: captions/1" in text


def test_what_is_no_record_for_its_depth_is_told_as_such() -> None:
    value = b"\x81\xa2id" + b"\x91" * 1_000 + b"\xc0"
    lines = list(show(found_letter("edits.failed", raw("p.edits.failed", POISON, value=value))))
    assert any(line.startswith("the input is no record: captions/1: id: ") for line in lines)


def test_a_failure_shows_its_traceback() -> None:
    lines = list(show(found_letter("edits.failed", raw("p.edits.failed", POISON))))
    assert "    ValueError: bad" in lines
    assert "  attempt  2" in lines


def test_a_trail_shows_models_scores_and_what_was_dropped() -> None:
    step = TrailStep(
        stage="edits",
        worker_version="0.1.0",
        settings_digest="d",
        models=(ModelId(role="CaptionEditor", id="sketch", revision="1", variant="float32"),),
        seed=7,
        batch_size=4,
        seconds=0.25,
        scores={"words": Bounds(low=1).measure(3)},
        dropped=(Candidate(label="reply 2", reason="repeated", scores={"words": Bounds(low=1).measure(0)}),),
    )
    edit = Edit(**CAPTION.model_dump(include={"id", "caption_id", "caption"}), edited_caption="A cat.", trail=(step,))
    from schemas import codec, headers

    value = {"value": codec.encode(edit), "headers": ((headers.SCHEMA, b"edits/1"), *REJECTED.headers())}
    text = "\n".join(show(found_letter("pairs.rejected", raw("p.pairs.rejected", None, **value))))
    assert "passed edits 0.1.0 at 1970-01-01 00:00:00Z, settings d, 4 records in 0.250 s, seed 7" in text
    assert "  CaptionEditor: sketch 1, float32" in text
    assert "  pass words: 3 in (1, inf)" in text
    assert "  dropped reply 2: repeated\n    FAIL words: 0 too low for (1, inf)" in text


def test_nothing_from_a_topic_reaches_the_terminal_unescaped() -> None:
    hostile = "\x1b]0;owned\x07\u202e\x9b"
    value = CAPTION.model_copy(update={"caption": f"dog{hostile}"})
    from schemas import codec

    given = {"value": codec.encode(value), "key": hostile.encode()}
    for letter in (REJECTED, POISON):
        headers = (SCHEMA, (hostile, hostile.encode()), *letter.headers())
        for line in show(found_letter("edits.failed", raw("p.edits.failed", letter, headers=headers, **given))):
            assert line.isprintable(), repr(line)


def test_junk_is_shown_as_junk() -> None:
    text = "\n".join(
        show(found_letter("edits.failed", raw("p.edits.failed", None, value=b"\xc1\xff", key=None, headers=())))
    )
    assert "unreadable: no `dlq.source` header" in text
    assert "2 bytes of value, key none" in text
    assert "the input is no record: no `schema` header, expected captions/1\n  b'\\xc1\\xff'" in text


def test_what_ingest_refused_is_shown_as_it_was_and_cut_for_a_terminal() -> None:
    line = b'{"id": "a6", "caption": \x1b[2J' + b"x" * 1_000
    lines = list(show(found_letter("ingest.failed", raw("p.ingest.failed", INVALID, value=line))))
    assert lines[-1].startswith('  {"id": "a6", "caption": \\x1b[2Jxxx')
    assert lines[-1].endswith("xxx ... (1028 characters)")
    assert len(lines[-1]) < 400


def test_pictures_of_an_input_that_is_no_record_can_not_be_saved() -> None:
    found = found_letter("edits.failed", raw("p.edits.failed", POISON, value=b"\xc1"))
    with pytest.raises(InvalidRecord):
        list(save_images(found, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (Bounds(), "(-inf, inf)"),
        (Bounds(low=0.9, high=0.98), "(0.9, 0.98)"),
        (Bounds(low=0.4, low_inclusive=True), "[0.4, inf)"),
        (Bounds(high=0.5, high_inclusive=True), "(-inf, 0.5]"),
    ],
)
def test_bounds_read_as_intervals(bounds: Bounds, text: str) -> None:
    assert window(bounds) == text


def test_a_score_says_on_which_side_it_fell() -> None:
    bounds = Bounds(low=0.9, high=0.98)
    assert verdict(bounds.measure(0.95)) == "0.95 in (0.9, 0.98)"
    assert verdict(bounds.measure(0.5)) == "0.5 too low for (0.9, 0.98)"
    assert verdict(bounds.measure(0.99312)) == "0.9931 too high for (0.9, 0.98)"


def test_times() -> None:
    assert utc(1_700_000_000) == "2023-11-14 22:13:20Z"
    assert utc(1e30) == "1e+30 s"
