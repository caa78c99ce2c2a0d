"""Digests in little memory, found in the bytes of every kind of record."""

import hashlib
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.blobs.digests import DigestSet
from schemas.codec import encode
from schemas.record import Record
from tests.schemas import samples

RECORDS = [value for value in vars(samples).values() if isinstance(value, Record)]


def digest_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_the_samples_refer_to_pictures() -> None:
    assert sum(bool(record.images()) for record in RECORDS) >= 4


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.schema_name())
def test_every_picture_of_every_kind_of_record_is_found(record: Record) -> None:
    images = {
        name: image.model_copy(update={"sha256": digest_of(number)})
        for number, (name, image) in enumerate(record.images().items())
    }
    digests = DigestSet()
    digests.add_all_in(encode(record.model_copy(update=images)))
    assert all(digests.holds([image.sha256 for image in images.values()]))


@given(known=st.sets(st.integers(0, 5_000), max_size=200), asked=st.lists(st.integers(0, 5_000), max_size=50))
def test_it_is_a_set(known: set[int], asked: list[int]) -> None:
    digests = DigestSet()
    for number in [*known, *known]:
        digests.add_all_in(digest_of(number).encode())
    assert len(digests) == len(known)
    assert digests.holds([digest_of(number) for number in asked]) == [number in known for number in asked]


@pytest.mark.parametrize("digest", ["0" * 64, "ab" * 31 + "00", "00" + "ab" * 31, "f" * 64])
def test_zeros_at_an_end_count(digest: str) -> None:
    digests = DigestSet()
    digests.add_all_in(digest.encode())
    others = [digest[:-1] + "7", "1" + digest[1:], "ab" * 31 + "01"]
    assert digests.holds([digest, *others]) == [True, False, False, False]


def test_what_looks_like_a_digest_only_keeps_more() -> None:
    digests = DigestSet()
    digests.add_all_in(b"@" + b"a" * 200 + b" " + b"b" * 63 + b" " + b"C" * 64)
    assert len(digests) == 1


def test_each_takes_32_bytes_and_some_more_for_a_moment() -> None:
    count = 300_000
    tracemalloc.start()
    try:
        digests = DigestSet()
        for _ in range(count // 1_000):
            digests.add_all_in(os.urandom(32_000).hex(" ", -32).encode())
        assert len(digests) == count
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 40 * count
    assert most < 150 * count
