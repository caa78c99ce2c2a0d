"""What leaves a worker is something that the broker takes, whatever came in and whatever a stage made of it."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import pytest
from PIL import Image

from common.kafka import ConsumedRecord, Message, Partition
from common.runtime.delivery import DeadLetterWriter, Signature, TopicDelivery
from common.runtime.flight import Failed, Fetched, Finished, Loaded
from common.runtime.stage import Emit, Reject, Task
from schemas.captions import Caption
from schemas.codec import MAX_RECORD_BYTES
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo, PoisonReason
from schemas.edits import Edit
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.scores import Bounds
from schemas.topics import EDITS, MAX_DEAD_LETTER_BYTES, Names
from schemas.trail import Candidate

T = TypeVar("T")
NAMES = Names("imgdiff")
SIGNATURE = Signature("edits", "0.1.0", "0" * 12, ())
CAPTION = Caption(id="c", caption_id="c", caption="a dog", source="s", position=0)
LARGE = 6 * 1024 * 1024


class Reason(StrEnum):
    NO = "no"


class Once:
    def run(self, what: str, action: Callable[[], T], wanted: Callable[[], bool]) -> T:
        return action()


def delivery() -> TopicDelivery:
    retry: Any = Once()
    return TopicDelivery(EDITS, NAMES, SIGNATURE, None, retry)  # type: ignore[arg-type]  # no pictures here


def fetched(
    key: bytes | None = b"c", value: bytes | None = b"v", headers: tuple[tuple[str, bytes], ...] = ()
) -> Fetched:
    return Fetched(ConsumedRecord(Partition("imgdiff.captions", 0), 7, key, value, headers, 1.0), 1)


def finished(outcome: Any) -> Finished:
    return Finished(Loaded(fetched(), Task(CAPTION)), outcome, 1, 0.0, 0.0)


def size(message: Message) -> int:
    """At least as much as the record takes in a batch of the log."""
    headers = sum(len(name.encode()) + len(value) + 10 for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers + 128


@pytest.mark.parametrize(
    "wrong",
    [
        Reject(Reason.NO, scores={"similarity": 0.5}),  # type: ignore[dict-item]
        Reject(Reason.NO, detail=5),  # type: ignore[arg-type]
        Reject(Reason.NO, dropped=["a dog"]),  # type: ignore[list-item]
    ],
)
def test_a_reject_that_can_not_be_written_costs_its_record_only(wrong: Reject) -> None:
    prepared = delivery().prepare(finished(wrong), lambda: True)
    assert isinstance(prepared.outcome, Failed)
    assert prepared.outcome.reason == PoisonReason.EXCEPTION
    (message,) = prepared.messages
    assert message.topic == "imgdiff.edits.failed"
    assert DeadLetter.parse(message.headers).kind is DeadLetterKind.POISON


def test_an_output_fits_into_its_topic_with_all_that_goes_with_it() -> None:
    """The broker counts key, headers and the batch around them too."""
    sizes = []
    for missing in range(0, 2_000, 250):
        edit = CAPTION.derive(Edit, 0, edited_caption="a cat")
        filled = Emit([edit], truth={"filling": "x" * (MAX_RECORD_BYTES - missing)})
        prepared = delivery().prepare(finished(filled), lambda: True)
        if isinstance(prepared.outcome, Emit):
            sizes += [size(message) for message in prepared.messages]
        else:
            assert isinstance(prepared.outcome, Failed)
            assert prepared.outcome.reason == PoisonReason.OUTPUT_TOO_LARGE
    assert sizes
    assert max(sizes) <= MAX_RECORD_BYTES


INVALID = Failed(DeadLetterKind.INVALID, InvalidReason.UNDECODABLE, "junk")
SCORES = {f"score {number}": Bounds(low=1.0).measure(0.5) for number in range(2_000)}


@pytest.mark.parametrize(
    "source",
    [
        fetched(),
        fetched(key=None, value=None),
        fetched(value=b"v" * LARGE),
        fetched(key=b"k" * LARGE),
        fetched(key=b"k" * LARGE, value=None),
        fetched(headers=(("trace", b"h" * LARGE),)),
        fetched(headers=(("header", b""),) * 400_000),
        fetched(value=None, headers=(("ä" * LARGE, b""),)),
    ],
    ids=["small", "empty", "value", "key", "key alone", "header", "headers", "header's name"],
)
@pytest.mark.parametrize(
    "outcome",
    [
        INVALID,
        Failed(DeadLetterKind.POISON, PoisonReason.EXCEPTION, error=ErrorInfo("x" * LARGE, "ä" * LARGE, "ä" * LARGE)),
        Reject(Reason.NO, SCORES, "ä" * LARGE, [Candidate(label="ä" * LARGE, reason="r", scores=SCORES)] * 100),
    ],
    ids=["invalid", "poison", "reject"],
)
def test_a_dead_letter_is_always_one_that_can_be_sent(source: Fetched, outcome: Any) -> None:
    """Compressed, a small batch holds records of any size."""
    message = DeadLetterWriter(EDITS, NAMES, SIGNATURE).message(source, outcome)
    assert size(message) <= MAX_DEAD_LETTER_BYTES
    assert message.key is not None or message.value is not None
    letter = DeadLetter.parse(message.headers)
    assert letter.source.offset == 7
    assert letter.reason == str(outcome.reason)


def test_a_dead_letter_that_fits_is_the_input_byte_for_byte() -> None:
    source = fetched(b"k", b"v" * MAX_RECORD_BYTES, (("schema", b"captions/1"), ("empty", b"")))
    loaded = Loaded(source, InvalidRecord(InvalidReason.UNDECODABLE, "junk"))
    (message,) = delivery().prepare(Finished(loaded, INVALID, 1, 0.0, 0.0), lambda: True).messages
    assert (message.key, message.value) == (source.record.key, source.record.value)
    assert tuple(message.headers[:2]) == source.record.headers


def test_want_of_memory_is_not_held_against_the_record_at_once() -> None:
    """Whoever calls decides how often it is tried."""

    class Full:
        def put_image(self, image: Any) -> Any:
            raise MemoryError

    retry: Any = Once()
    full: Any = Full()
    edit = CAPTION.derive(Edit, 0, edited_caption="a cat")
    outcome = Emit([edit], images={"first": Image.new("RGB", (8, 8))})
    with pytest.raises(MemoryError):
        TopicDelivery(EDITS, NAMES, SIGNATURE, full, retry).prepare(finished(outcome), lambda: True)
