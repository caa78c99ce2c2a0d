"""Versions of a record type: what was ever released is read for ever, what is not released yet is told as such."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgpack
import pytest

from schemas import codec
from schemas.edits import Edit
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.record import Fields, Record, Text, Upcast
from tests.schemas.samples import EDIT, SAMPLES

GOLDEN = Path(__file__).parent / "golden"
KINDS = {record.topic: type(record) for record in SAMPLES}


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.msgpack")), ids=lambda file: file.stem)
def test_every_version_that_was_ever_released_is_read(file: Path) -> None:
    topic, _, version = file.stem.rpartition("-")
    record = codec.decode(KINDS[topic], file.read_bytes(), f"{topic}/{version}")
    assert record.id == next(sample.id for sample in SAMPLES if sample.topic == topic)


def test_the_bytes_of_every_version_up_to_the_current_one_are_there() -> None:
    expected = {f"{kind.topic}-{version}" for kind in KINDS.values() for version in range(1, kind.version + 1)}
    assert {file.stem for file in GOLDEN.glob("*.msgpack")} == expected


def second(fields: Fields) -> Fields:
    """`edited_caption` is called `rewritten`; which object was replaced was not known before."""
    rest = {name: value for name, value in fields.items() if name != "edited_caption"}
    return {**rest, "rewritten": fields["edited_caption"], "replaced": None}


def third(fields: Fields) -> Fields:
    return {**fields, "rewritten": fields["rewritten"].strip(), "words": len(fields["rewritten"].split())}


class EditTwo(Record):
    topic: ClassVar[str] = "edits"
    version: ClassVar[int] = 2
    upcasts: ClassVar[Mapping[int, Upcast]] = {1: second}

    caption: Text
    rewritten: Text
    replaced: Text | None


class EditThree(Record):
    topic: ClassVar[str] = "edits"
    version: ClassVar[int] = 3
    upcasts: ClassVar[Mapping[int, Upcast]] = {1: second, 2: third}

    caption: Text
    rewritten: Text
    replaced: Text | None
    words: int


def test_an_old_record_becomes_one_of_today() -> None:
    old = codec.encode(EDIT)
    two = codec.decode(EditTwo, old, "edits/1")
    assert (two.id, two.trail, two.rewritten, two.replaced) == (EDIT.id, EDIT.trail, EDIT.edited_caption, None)
    three = codec.decode(EditThree, old, "edits/1")
    assert (three.rewritten, three.words) == (EDIT.edited_caption, 5)
    assert codec.decode(EditThree, codec.encode(two), "edits/2") == three


def test_a_version_from_the_future_is_told_as_such() -> None:
    new = EditTwo(id="e", caption_id="c", caption="a", rewritten="b", replaced="a")
    with pytest.raises(
        InvalidRecord, match=r"'edits/2' is newer than this worker reads, expected edits/1 or older"
    ) as raised:
        codec.decode(Edit, codec.encode(new), EditTwo.schema_name())
    assert raised.value.reason is InvalidReason.SCHEMA_NEWER


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"edited_caption": ...}, r"edits/1 lacks 'edited_caption', can not become edits/3"),
        ({"edited_caption": 7}, r"edits/2 can not become edits/3: AttributeError"),
        ({"surprise": 7}, r"edits/3: surprise: Extra inputs"),
    ],
)
def test_an_old_record_that_is_broken_is_the_records_fault(changed: dict[str, Any], said: str) -> None:
    fields = {
        name: value for name, value in (msgpack.unpackb(codec.encode(EDIT)) | changed).items() if value is not ...
    }
    with pytest.raises(InvalidRecord, match=said) as raised:
        codec.decode(EditThree, msgpack.packb(fields), "edits/1")
    assert raised.value.reason is InvalidReason.SCHEMA_BROKEN


def test_a_version_without_a_way_from_the_one_before_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"`upcasts` from \[\], expected one from every older version: \[1\]"):

        class Forgotten(Record):
            topic: ClassVar[str] = "edits"
            version: ClassVar[int] = 2


def test_who_extends_a_record_has_versions_of_its_own() -> None:
    class PairOne(EditTwo):
        topic: ClassVar[str] = "pairs"
        version: ClassVar[int] = 1

    assert PairOne.upcasts == {}
    assert EditTwo.upcasts == {1: second}
