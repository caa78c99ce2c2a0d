"""Conditions on scores: what they mean, and one clear line for what is none."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.dead_letters.where import And, Comparison, Condition, Not, Or, WhereError, parse_where
from schemas.scores import Bounds, float32

NAMES = st.sampled_from(["pair_similarity", "object_match", "x", "android", "Notable"])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COMPARISONS: st.SearchStrategy[Condition] = st.builds(
    Comparison, NAMES, st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), NUMBERS
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda parts: st.one_of(st.builds(Not, parts), st.builds(And, parts, parts), st.builds(Or, parts, parts)),
    max_leaves=6,
)
SCORES = st.dictionaries(NAMES, NUMBERS, max_size=4)


@given(CONDITIONS)
def test_a_condition_reads_as_it_is_written(condition: Condition) -> None:
    assert parse_where(str(condition)) == condition


@given(CONDITIONS, CONDITIONS, SCORES)
def test_words_mean_what_they_say(first: Condition, second: Condition, scores: Mapping[str, float]) -> None:
    one, two = first.holds(scores), second.holds(scores)
    assert parse_where(f"({first}) and ({second})").holds(scores) == (one and two)
    assert parse_where(f"({first}) or ({second})").holds(scores) == (one or two)
    assert parse_where(f"not ({first})").holds(scores) == (not one)


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_one_clear_line(text: str) -> None:
    said = "expected nothing else"
    try:
        parse_where(text).holds({})
    except WhereError as error:
        said = str(error)
    assert said.isprintable()
    assert any(words in said for words in ("expected", "nested", "too large"))


@given(st.text(alphabet="()<>=!. andortxy019-e", max_size=60))
def test_what_looks_like_a_condition_is_one_or_is_refused(text: str) -> None:
    try:
        condition = parse_where(text)
    except WhereError:
        return
    assert parse_where(str(condition)) == condition


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(0, 1, width=32))
def test_a_number_compares_as_a_bound_does(value: float, bound: float) -> None:
    condition = parse_where(f"score < {bound!r}")
    assert condition.holds({"score": value}) == Bounds(low=bound, low_inclusive=True).measure(value).too_low


def test_not_binds_closer_than_and_and_that_closer_than_or() -> None:
    a, b, c = Comparison("a", "<", 1), Comparison("b", "<", 1), Comparison("c", "<", 1)
    assert parse_where("a<1 or not b<1 and c<1") == Or(a, And(Not(b), c))
    assert parse_where("(a < 1 or b < 1) and c < 1") == And(Or(a, b), c)


def test_a_score_that_is_not_there_never_holds() -> None:
    assert not parse_where("a != 1").holds({"b": 2})
    assert parse_where("not a = 1").holds({"b": 2})
    assert parse_where("a < 1 or b = 2").names() == {"a", "b"}


def test_values_out_of_all_float32_are_compared_too() -> None:
    assert parse_where("a > 1").holds({"a": 1e300})
    assert float32(-1e300) == float("-inf")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "at 1: found the end, expected the name of a score"),
        ("pair_similarity", "at 16: found the end, expected one of < <= > >= = !="),
        ("0.9 < a", "at 1: found '0.9', expected the name of a score"),
        ("a < b", "at 5: found 'b', expected a number"),
        ("a == 1", "at 4: found '=', expected a number"),
        ("a < 1 b > 2", "at 7: found 'b', expected `and`, `or` or the end"),
        ("(a < 1", "at 7: found the end, expected `)`"),
        ("a < 1; rm", "at 6: found ';', expected a comparison such as pair_similarity < 0.92"),
        ("a < 1e999", "at 5: the number is too large"),
        ("and < 1", "at 1: found 'and', expected the name of a score"),
        ("(" * 40 + "a < 1", "at 33: nested more than 32 deep"),
        ("a" * 1001, "1001 characters, expected at most 1000"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, line: str) -> None:
    with pytest.raises(WhereError) as raised:
        parse_where(text)
    assert str(raised.value) == line
