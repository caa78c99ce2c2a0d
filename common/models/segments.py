"""What segmenters of different libraries have in common: corners as they come become boxes."""

from collections.abc import Iterable, Sequence

from schemas.geometry import Box


def boxes_inside(corners: Iterable[Sequence[float]], size: tuple[int, int]) -> list[Box]:
    """The boxes of `x0, y0, x1, y1` in pixels, right and bottom exclusive, of a picture of (width, height), in order.

    What leaves the picture is cut off. What then has no area is no box: it is left out, as is what is not a number.
    """
    width, height = size
    boxes = []
    for x0, y0, x1, y1 in corners:
        left, top, right, bottom = max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)
        if left < right and top < bottom:
            boxes.append(Box(x0=left, y0=top, x1=right, y1=bottom, width=width, height=height))
    return boxes
