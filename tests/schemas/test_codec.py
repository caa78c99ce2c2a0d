"""Records to bytes and back; bytes from elsewhere to one clear reason."""

from contextlib import suppress
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.edits import Edit
from schemas.images import NewImage
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.pairs import Pair
from schemas.record import Record
from tests.schemas.samples import CAPTION, EDIT, PAIR, SAMPLES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: record.topic)
def test_a_record_comes_back_as_it_went(record: Record) -> None:
    assert codec.decode(type(record), codec.encode(record), record.schema_name()) == record


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: record.topic)
def test_released_bytes_are_read_for_ever_and_written_the_same(record: Record) -> None:
    golden = (GOLDEN / f"{record.topic}-{record.version}.msgpack").read_bytes()
    assert codec.decode(type(record), golden, record.schema_name()) == record
    assert codec.encode(record) == golden


def reason(kind: type[Record], value: bytes | None, schema: str | None) -> InvalidReason:
    with pytest.raises(InvalidRecord) as raised:
        codec.decode(kind, value, schema)
    assert (
        "expected" in raised.value.detail
        or kind.schema_name() in raised.value.detail
        or "msgpack" in raised.value.detail
    )
    return raised.value.reason


def test_what_is_wrong_has_its_reason() -> None:
    good = codec.encode(EDIT)
    fields = msgpack.unpackb(good)
    assert reason(Edit, None, "edits/1") is InvalidReason.UNDECODABLE
    assert reason(Edit, b"\xc1\xff junk", "edits/1") is InvalidReason.UNDECODABLE
    assert reason(Edit, msgpack.packb([1, 2]), "edits/1") is InvalidReason.UNDECODABLE
    assert reason(Edit, msgpack.packb({1: 2}), "edits/1") is InvalidReason.UNDECODABLE
    assert reason(Edit, good, None) is InvalidReason.SCHEMA_MISSING
    for schema in ("pairs/1", "edits", "edits/", "edits/x", "edits/-1", "edits/0", "edits/1.0", "", "edits/99999999"):
        assert reason(Edit, good, schema) is InvalidReason.SCHEMA_UNKNOWN
    assert reason(Edit, good, "edits/2") is InvalidReason.SCHEMA_NEWER
    assert reason(Edit, msgpack.packb(fields | {"extra": 1}), "edits/1") is InvalidReason.SCHEMA_BROKEN
    assert reason(Edit, msgpack.packb(fields | {"caption": 7}), "edits/1") is InvalidReason.SCHEMA_BROKEN
    assert reason(Edit, msgpack.packb(fields | {"caption": ""}), "edits/1") is InvalidReason.SCHEMA_BROKEN
    assert reason(Edit, bytes(codec.MAX_RECORD_BYTES + 1), "edits/1") is InvalidReason.TOO_LARGE
    assert reason(Edit, b"\x81" * 100_000, "edits/1") is InvalidReason.UNDECODABLE
    assert reason(Edit, b"\xdd\xff\xff\xff\xff", "edits/1") is InvalidReason.UNDECODABLE
    assert (
        reason(Pair, codec.encode(PAIR).replace(b"1" * 64, b"../" * 21 + b"x"), "pairs/1")
        is InvalidReason.SCHEMA_BROKEN
    )


def test_a_number_that_could_not_be_written_again_is_refused() -> None:
    step = msgpack.unpackb(codec.encode(EDIT))["trail"][0]
    for seed in (1e308, 2**63, -1):
        fields = msgpack.unpackb(codec.encode(EDIT)) | {"trail": [step | {"seed": seed}]}
        assert reason(Edit, msgpack.packb(fields), "edits/1") is InvalidReason.SCHEMA_BROKEN


def test_what_is_said_of_a_record_is_short() -> None:
    fields = msgpack.unpackb(codec.encode(EDIT)) | {"a" * 5_000: 1}
    with pytest.raises(InvalidRecord) as raised:
        codec.decode(Edit, msgpack.packb(fields), "edits/1")
    assert len(raised.value.detail) < 300


@pytest.mark.parametrize("depth", [400, 1_000, 1_022])
def test_a_field_of_lists_in_lists_is_refused_however_deep(depth: int) -> None:
    """msgpack follows 1,024 of them, Python's `repr` fewer."""
    fields = msgpack.unpackb(codec.encode(EDIT)) | {"caption": "deep"}
    value = msgpack.packb(fields).replace(msgpack.packb("deep"), b"\x91" * depth + b"\xc0")
    assert reason(Edit, value, "edits/1") is InvalidReason.SCHEMA_BROKEN


def test_no_record_is_refused_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(msgpack, "unpackb", full)
    with pytest.raises(MemoryError):
        codec.decode(Edit, codec.encode(EDIT), "edits/1")


@given(value=st.binary(max_size=2_000), schema=st.none() | st.text(max_size=20) | st.just("edits/1"))
def test_no_bytes_do_anything_else_than_be_refused(value: bytes, schema: str | None) -> None:
    with pytest.raises(InvalidRecord):
        codec.decode(Edit, value, schema)


@given(data=st.data())
def test_a_record_with_flipped_bytes_is_read_or_refused(data: st.DataObject) -> None:
    value = bytearray(codec.encode(EDIT))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidRecord):
        assert isinstance(codec.decode(Edit, bytes(value), "edits/1"), Edit)


def test_a_picture_that_was_not_stored_is_never_written() -> None:
    drawn = PAIR.model_copy(update={"first": NewImage.named("left")})
    with pytest.raises(ValueError, match="first"):
        codec.encode(drawn)
    assert codec.encode(drawn.with_images({"left": PAIR.first})) == codec.encode(PAIR)


def test_ids_follow_from_where_a_record_comes_from() -> None:
    again = CAPTION.derive(Edit, 0, edited_caption="A cow on a bench.")
    other = CAPTION.derive(Edit, 1, edited_caption="A cow on a bench.")
    assert again.id == EDIT.id
    assert other.id != EDIT.id
    assert EDIT.caption_id == CAPTION.id
