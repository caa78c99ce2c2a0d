"""Which tokens of two prompts stand for each other, and in how many steps."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.models.prompt_to_prompt.alignment import Tokens, align, padded, tokenise
from common.models.prompt_to_prompt.schedule import Schedule
from tests.tiny import sdxl

SEQUENCES = st.lists(st.integers(0, 3), max_size=8)


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return sdxl.tokenizer("!")


@pytest.mark.parametrize(
    ("base", "edited", "places"),
    [
        pytest.param([1, 2, 3], [1, 2, 3], [0, 1, 2], id="the same"),
        pytest.param([1, 2, 3], [1, 9, 3], [0, None, 2], id="one replaced"),
        pytest.param([1, 2, 3], [1, 9, 8, 3], [0, None, None, 2], id="one by two"),
        pytest.param([1, 7, 2, 3], [1, 3], [0, 3], id="two dropped"),
        pytest.param([1, 3], [1, 7, 2, 3], [0, None, None, 1], id="two put in"),
        pytest.param([5, 6], [7, 8], [None, None], id="nothing in common"),
        pytest.param([4], [4, 4], [0, None], id="of two equal ones the second is new"),
        pytest.param([4, 4], [4], [0], id="of two equal ones the second is dropped"),
        pytest.param([1, 2], [2, 1], [1, None], id="crossing"),
        pytest.param([], [1], [None], id="nothing to stand for"),
        pytest.param([1], [], [], id="nothing left"),
    ],
)
def test_places(base: list[int], edited: list[int], places: list[int | None]) -> None:
    assert align(base, edited) == places


@given(SEQUENCES, SEQUENCES)
def test_as_many_tokens_as_can_stand_for_each_other(base: list[int], edited: list[int]) -> None:
    places = align(base, edited)
    found = [(column, row) for column, row in enumerate(places) if row is not None]
    assert all(base[row] == edited[column] for column, row in found)
    rows = [row for _, row in found]
    assert rows == sorted(set(rows))
    assert len(found) == longest_common(base, edited)


def longest_common(one: list[int], other: list[int]) -> int:
    def holds(part: tuple[int, ...]) -> bool:
        rest = iter(other)
        return all(item in rest for item in part)

    return max(length for length in range(len(one) + 1) if any(map(holds, combinations(one, length))))


def test_padding_stands_where_it_stands_even_twice() -> None:
    assert padded([0, 3, 4], 6) == [0, 3, 4, 3, 4, 5]


def test_tokens_with_begin_and_end_and_their_words(tokenizer: object) -> None:
    tokens = tokenise(tokenizer, "A Confetti, cake")
    assert tokens.ids == (49406, 320, 37923, 267, 2972, 49407)
    assert tokens.words == (None, "A", "Confetti,", "Confetti,", "cake", None)


def test_a_long_prompt_is_cut_and_keeps_its_end(tokenizer: object) -> None:
    tokens = tokenise(tokenizer, "cat " * 200)
    assert len(tokens.ids) == 77
    assert tokens.ids[-2:] == (2368, 49407)
    assert tokens.words[-1] is None


def test_an_empty_prompt(tokenizer: object) -> None:
    assert tokenise(tokenizer, "") == Tokens((49406, 49407), (None, None))


@pytest.mark.parametrize(
    ("schedule", "self_steps", "cross_steps"),
    [
        (Schedule(), 20, 51),
        (Schedule(cross_replace=0.8), 20, 40),
        (Schedule(steps=9, cross_replace=0.8), 3, 8),
        (Schedule(steps=7, self_replace=0.4, cross_replace=0.0), 2, 0),
        (Schedule(cross_replace=0.2, cross_replace_words={"confetti": 0.8}), 20, 40),
    ],
)
def test_steps_of_a_schedule(schedule: Schedule, self_steps: int, cross_steps: int) -> None:
    assert schedule.self_steps == self_steps
    assert schedule.cross_steps == cross_steps


def test_words_have_shares_of_their_own() -> None:
    schedule = Schedule(cross_replace_words={"confetti": 0.8})
    tokens = Tokens((0, 1, 2, 3, 9), (None, "a", "confetti", "confetti,", None))
    assert schedule.cross_steps_of(tokens, 7) == [51, 51, 40, 51, 51, 51, 51]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "option `steps`: found 0"),
        ({"self_replace": 1.1}, "option `self_replace`: found 1.1"),
        ({"cross_replace": float("nan")}, "option `cross_replace`: found nan"),
        ({"cross_replace_words": {"dog": -1}}, "option `cross_replace_words.dog`: found -1"),
    ],
)
def test_values_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**options)  # type: ignore[arg-type]
