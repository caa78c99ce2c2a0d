"""Counts and spreads against the same taken from all values at once."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.dead_letters.reading import found_letter
from ops.dead_letters.statistics import BINS, MAX_BUCKETS, MAX_GROUPS, OTHERS, Spread, Statistics
from schemas.scores import Bounds
from tests.ops.dead_letters.letters import INVALID, POISON, REJECTED, raw

VALUES = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200)


def spread(values: list[float]) -> Spread:
    made = Spread()
    for value in values:
        made.add(value)
    return made


@given(VALUES, st.floats(0, 1))
def test_a_quantile_is_right_to_four_digits(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert spread(values).quantile(share) == pytest.approx(exact, rel=1e-3)


@given(VALUES)
def test_a_histogram_holds_every_value(values: list[float]) -> None:
    made = spread(values)
    assert sum(made.histogram()) == len(values) == made.count
    assert (made.least, made.most) == (min(values), max(values))


def test_a_histogram_has_equal_parts() -> None:
    assert spread([number / 100 for number in range(100)]).histogram() == [5] * BINS
    assert spread([0.5, 0.5]).histogram() == [2]
    assert spread([]).histogram() == [0]
    assert sum(spread([-1.7e308, 1.7e308]).histogram()) == 2


@given(VALUES, VALUES)
def test_what_two_have_counted_is_what_one_would_have(first: list[float], second: list[float]) -> None:
    letters = [replace(REJECTED, scores={"s": Bounds(low=0).measure(value)}) for value in (*first, *second)]
    found = [found_letter("edits.rejected", raw("p.edits.rejected", letter)) for letter in letters]
    together, merged, after = Statistics(), Statistics(), Statistics()
    for each in found:
        together.add(each)
    for each in found[: len(first)]:
        merged.add(each)
    for each in found[len(first) :]:
        after.add(each)
    merged.merge(after)
    assert merged.to_json() == together.to_json()


def test_stages_are_in_the_order_of_the_stream_whichever_came_first() -> None:
    made, later = Statistics(), Statistics()
    made.add(found_letter("boxes.rejected", raw("p.boxes.rejected", REJECTED)))
    later.add(found_letter("edits.rejected", raw("p.edits.rejected", REJECTED)))
    made.merge(later)
    assert [group.stage for group, _ in made.counts()] == ["edits", "boxes"]
    assert [stage for stage, _, _ in made.spreads()] == ["edits", "boxes"]


def test_spreads_kept_to_fewer_digits_stay_so_when_merged() -> None:
    coarse = spread([mantissa * 10.0**exponent for exponent in range(-20, 20) for mantissa in range(1_000, 10_000, 7)])
    fine = spread([0.12344, 0.12346])
    fine.merge(coarse)
    assert fine.count == coarse.count + 2
    assert len(fine._buckets) <= MAX_BUCKETS
    assert sum(fine._buckets.values()) == fine.count


def test_memory_does_not_grow_with_values_that_lie_far_apart() -> None:
    made = spread([mantissa * 10.0**exponent for exponent in range(-20, 20) for mantissa in range(1_000, 10_000, 7)])
    assert len(made._buckets) <= MAX_BUCKETS
    assert made.quantile(0.5) == pytest.approx(1_000, rel=0.1)


def test_what_is_counted_together() -> None:
    made = Statistics()
    for topic, each in [("edits.rejected", REJECTED)] * 3 + [("edits.failed", POISON), ("edits.failed", INVALID)]:
        made.add(found_letter(topic, raw(f"p.{topic}", each)))
    made.add(found_letter("pairs.failed", raw("p.pairs.failed", None)))
    said = made.to_json()
    assert said["count"] == 6
    assert [tuple(group.values()) for group in said["groups"]] == [
        ("edits", "rejected", "too_long", None, 3),
        ("edits", "invalid", "undecodable", None, 1),
        ("edits", "poison", "exception", "ValueError", 1),
        ("pairs", "unreadable", "", None, 1),
    ]
    [score] = said["scores"]
    assert (score["stage"], score["score"], score["count"], score["too_low"], score["too_high"]) == (
        "edits", "added_words", 3, 0, 3,
    )  # fmt: skip
    assert (score["low"], score["high"], score["min"], score["max"]) == (-8, 8, 11, 11)
    assert set(score["quantiles"].values()) == {11}


def test_groups_and_scores_that_somebody_invents_stay_few() -> None:
    made = Statistics()
    for number in range(MAX_GROUPS + 50):
        odd = replace(REJECTED, reason=f"r{number}", scores={f"s{number}": Bounds().measure(1)})
        made.add(found_letter("edits.rejected", raw("p.edits.rejected", odd)))
    assert len(made.groups) == MAX_GROUPS + 1
    assert len(made.scores) == MAX_GROUPS
    assert made.count == MAX_GROUPS + 50
    assert {group.reason: count for group, count in made.counts()}[OTHERS] == 50

    more = Statistics()
    more.add(found_letter("edits.rejected", raw("p.edits.rejected", replace(REJECTED, reason="one more"))))
    made.merge(more)
    assert {group.reason: count for group, count in made.counts()}[OTHERS] == 51
    assert len(made.scores) == MAX_GROUPS
