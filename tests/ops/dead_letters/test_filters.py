"""Which dead letters a filter wants, and how times and offsets are written."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.dead_letters.filters import Filter, OffsetRange, parse_offsets, parse_time
from ops.dead_letters.where import parse_where
from schemas.dead_letters import DeadLetter, DeadLetterKind
from tests.ops.dead_letters.letters import INVALID, POISON, REJECTED

LETTERS = (REJECTED, POISON, INVALID)
KEYS = {REJECTED.reason: b"c1", POISON.reason: b"c2", INVALID.reason: b"\xff"}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), LETTERS),
        (Filter(kind=DeadLetterKind.INVALID), (INVALID,)),
        (Filter(caption="c2"), (POISON,)),
        (Filter(caption="c2", kind=DeadLetterKind.REJECTED), ()),
        (Filter(caption="\udcff"), (INVALID,)),
        (Filter(reason="too_long"), (REJECTED,)),
        (Filter(error_class="ValueError"), (POISON,)),
        (Filter(error_class="Error"), ()),
        (Filter(since=1_700_000_002.0), (POISON, INVALID)),
        (Filter(until=1_700_000_002.0), (REJECTED,)),
        (Filter(partition=3), (REJECTED, POISON)),
        (Filter(offsets=OffsetRange(4, 17)), (REJECTED, INVALID)),
        (Filter(offsets=OffsetRange(last=17), partition=3), (REJECTED,)),
        (Filter(where=parse_where("added_words > 8")), (REJECTED,)),
        (Filter(where=parse_where("added_words <= 8")), ()),
        (Filter(kind=DeadLetterKind.POISON, reason="too_long"), ()),
    ],
)
def test_all_parts_of_a_filter_have_to_agree(wanted: Filter, found: tuple[DeadLetter, ...]) -> None:
    assert tuple(letter for letter in LETTERS if wanted.wants(letter, KEYS[letter.reason])) == found


def test_a_class_is_known_with_and_without_its_module() -> None:
    assert POISON.error is not None
    letter = replace(POISON, error=replace(POISON.error, class_name="torch.cuda.OutOfMemoryError"))
    assert Filter(error_class="OutOfMemoryError").wants(letter, None)
    assert Filter(error_class="torch.cuda.OutOfMemoryError").wants(letter, None)
    assert not Filter(error_class="MemoryError").wants(letter, None)


def test_one_with_broken_headers_is_wanted_only_where_any_is() -> None:
    assert Filter().wants(None, b"c1")
    assert Filter(stage="boxes").wants(None, b"c1")
    assert Filter(caption="c1").wants(None, b"c1")
    assert not Filter(caption="c2").wants(None, b"c1")
    assert not Filter(since=0.0).wants(None, b"c1")
    assert not Filter(where=parse_where("not a < 1")).wants(None, b"c1")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00", 3_600),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01 00:00:01Z", 1),
        ("45s", 999_955),
        ("90m", 994_600),
        ("2h", 992_800),
        ("1d", 913_600),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text, 1_000_000) == seconds


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("17", OffsetRange(17, 17)),
        ("17-40", OffsetRange(17, 40)),
        ("17-", OffsetRange(17, None)),
        ("-40", OffsetRange(None, 40)),
    ],
)
def test_offsets(text: str, offsets: OffsetRange) -> None:
    assert parse_offsets(text) == offsets


@pytest.mark.parametrize("text", ["", "-", "40-17", "a-b", "1-2-3", "1.5", "1" * 30])
def test_what_is_no_range_of_offsets_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_offsets(text)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    said = "expected"
    try:
        parse_time(text, 0.0)
    except ValueError as error:
        said = str(error)
    assert "expected" in said
