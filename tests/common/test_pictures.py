"""Cutting and aligning pictures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.pictures import aligned, crop, pixels_of
from schemas.geometry import Box

WIDTH, HEIGHT = 9, 7
INSIDE = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


@given(INSIDE)
def test_a_crop_is_every_pixel_that_the_box_touches(corners: tuple[float, float, float, float]) -> None:
    left, right = sorted((corners[0] * WIDTH, corners[1] * WIDTH))
    top, bottom = sorted((corners[2] * HEIGHT, corners[3] * HEIGHT))
    if left == right or top == bottom:
        return
    box = Box(x0=left, y0=top, x1=right, y1=bottom, width=WIDTH, height=HEIGHT)
    touched = {
        (x, y) for x in range(WIDTH) for y in range(HEIGHT) if x + 1 > left and x < right and y + 1 > top and y < bottom
    }
    x0, y0, x1, y1 = pixels_of(box)
    assert {(x, y) for x in range(x0, x1) for y in range(y0, y1)} == touched
    assert crop(Image.new("RGB", (WIDTH, HEIGHT)), box).size == (x1 - x0, y1 - y0)


def test_a_box_of_another_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="a box of a 9x7 picture on one of 7x9"):
        crop(Image.new("RGB", (7, 9)), Box(x0=0, y0=0, x1=1, y1=1, width=9, height=7))


def test_the_second_picture_takes_the_size_of_the_first() -> None:
    first, same, other = (Image.new("RGB", size) for size in ((9, 7), (9, 7), (18, 14)))
    assert aligned(first, same) is same
    assert aligned(first, other).size == (9, 7)
