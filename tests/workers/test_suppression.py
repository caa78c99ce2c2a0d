"""Suppression against its definition, on grids of pixels."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.geometry import Box
from schemas.scores import Bounds
from tests.workers.fakes import step
from workers.boxes.candidates import CandidateBox
from workers.boxes.reasons import BoxesReason
from workers.boxes.suppression import suppress

SIDE = 6
BOUNDS = Bounds(high=0.5, high_inclusive=True)

Corners = tuple[int, int, int, int]


@st.composite
def corners(draw: st.DrawFn) -> Corners:
    x0, y0 = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
    return x0, y0, draw(st.integers(x0 + 1, SIDE)), draw(st.integers(y0 + 1, SIDE))


def candidates(boxes: list[Corners]) -> list[CandidateBox]:
    return [
        CandidateBox("first", i, Box(x0=x0, y0=y0, x1=x1, y1=y1, width=SIDE, height=SIDE))
        for i, (x0, y0, x1, y1) in enumerate(boxes)
    ]


def iou(first: Corners, second: Corners, edge: int) -> Fraction:
    pixels = [
        {(x, y) for x in range(x0, x1 + edge) for y in range(y0, y1 + edge)} for x0, y0, x1, y1 in (first, second)
    ]
    return Fraction(len(pixels[0] & pixels[1]), len(pixels[0] | pixels[1]))


@given(st.lists(corners(), max_size=10), st.booleans())
def test_a_box_is_kept_where_no_kept_one_before_it_overlaps_by_more(boxes: list[Corners], adds_pixel: bool) -> None:
    expected: list[int] = []
    for i, own in enumerate(boxes):
        if all(iou(own, boxes[j], int(adds_pixel)) <= Fraction(1, 2) for j in expected):
            expected.append(i)
    weighed = candidates(boxes)
    kept = suppress(weighed, BOUNDS, adds_pixel=adds_pixel)
    assert [box.index for box in kept] == expected
    for box in weighed:
        assert box.reason == (None if box.index in expected else BoxesReason.OVERLAPS)
        before = [iou(boxes[box.index], boxes[j], int(adds_pixel)) for j in expected if j < box.index]
        assert ("overlap" in box.scores) == bool(before)
        if before:
            assert box.scores["overlap"].value == pytest.approx(float(max(before)))


@pytest.mark.parametrize(
    ("high", "inclusive", "survives"),
    [
        (step(0.5, -1), True, False),
        (0.5, True, True),
        (0.5, False, False),
        (step(0.5, 1), True, True),
    ],
)
def test_the_bound_itself(high: float, inclusive: bool, survives: bool) -> None:
    halves = candidates([(0, 0, 4, 4), (0, 0, 4, 2)])
    kept = suppress(halves, Bounds(high=high, high_inclusive=inclusive), adds_pixel=False)
    assert (len(kept) == 2) is survives


def test_the_convention_with_the_edge_inside_moves_boxes_across_the_bound() -> None:
    boxes = [(0, 0, 2, 2), (1, 0, 4, 2)]
    assert iou(boxes[0], boxes[1], 0) < iou(boxes[0], boxes[1], 1)
    bounds = Bounds(high=0.3, high_inclusive=True)
    assert len(suppress(candidates(boxes), bounds, adds_pixel=False)) == 2
    assert len(suppress(candidates(boxes), bounds, adds_pixel=True)) == 1
