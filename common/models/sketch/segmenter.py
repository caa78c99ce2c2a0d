"""A segmenter for pictures whose rim is background."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from common.models.sketch.base import SketchModel
from common.models.sketch.components import Mask, components_of
from schemas.geometry import Box

_STEP = 2
"""Every second pixel of every second row is looked at."""
_BITS = 5
"""Colours count as one when they fall into the same or a neighbouring one of 32 levels per channel."""
_LEAST_SHARE = 0.0015
"""Smaller things are taken for dirt; a share of the picture."""
_SAME_IOU = 0.9
"""Boxes that overlap more than this are one and the same."""


class SketchSegmenter(SketchModel):
    """Takes the colours of a picture's rim for background, and what else hangs together for things.

    It looks at several scales, as real segmenters do: things as they are, and with gaps of up to so many pixels closed
    (`scales`), so that it finds parts, wholes, and things close together as one. What looks the same at two scales
    counts once.
    """

    role = "Segmenter"

    def __init__(self, *, scales: Sequence[int] = (0, 8, 24), delay_s: float = 0.0) -> None:
        super().__init__(delay_s=delay_s)
        if any(scale < 0 for scale in scales):
            raise ValueError(f"option `scales`: found {list(scales)}, expected pixels of at least 0")
        self._scales = tuple(scales)

    def segment(self, images: Sequence[Image.Image]) -> Sequence[Sequence[Box]]:
        self._wait()
        return [self._segment(image) for image in images]

    def _segment(self, image: Image.Image) -> list[Box]:
        mask = foreground(image)
        found: list[Box] = []
        for scale in self._scales:
            found += [
                box for box in _boxes(mask, scale, image.size) if not any(box.iou(each) > _SAME_IOU for each in found)
            ]
        return found


def foreground(image: Image.Image) -> Mask:
    """Which pixels have a colour that the rim does not have; every `_STEP`-th pixel, shape (height, width)."""
    pixels = np.asarray(image)[::_STEP, ::_STEP] >> (8 - _BITS)
    seen = np.zeros((1 << _BITS,) * 3, bool)
    for rim in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        seen[rim[:, 0], rim[:, 1], rim[:, 2]] = True
    background = _with_neighbours(seen)
    things: Mask = ~background[pixels[..., 0], pixels[..., 1], pixels[..., 2]]
    return things


def _with_neighbours(seen: Mask) -> Mask:
    """The colours seen and those next to them."""
    for axis in range(3):
        ahead, behind = np.roll(seen, 1, axis), np.roll(seen, -1, axis)
        # What rolls over the end comes out at the other one, where it has no business.
        ahead.swapaxes(0, axis)[0] = False
        behind.swapaxes(0, axis)[-1] = False
        seen = seen | ahead | behind
    return seen


def _boxes(mask: Mask, gap: int, size: tuple[int, int]) -> Iterator[Box]:
    width, height = size
    reach = gap // (2 * _STEP)
    rows, columns = mask.shape
    for found in components_of(_grown(mask, reach) if reach else mask):
        if found.area * _STEP * _STEP >= _LEAST_SHARE * width * height:
            yield Box(
                x0=_STEP * _shrunk_from(found.x0, reach, 0),
                y0=_STEP * _shrunk_from(found.y0, reach, 0),
                x1=min(width, _STEP * _shrunk_from(found.x1, -reach, columns)),
                y1=min(height, _STEP * _shrunk_from(found.y1, -reach, rows)),
                width=width,
                height=height,
            )


def _shrunk_from(edge: int, reach: int, rim: int) -> int:
    """An edge of something grown, moved back; one that ended at the picture's rim stays, as nobody knows how far it grew."""
    return edge if edge == rim else edge + reach


def _grown(mask: Mask, pixels: int) -> Mask:
    """The mask with everything up to so many pixels away from it, across, down and diagonally."""
    for axis in (0, 1):
        # How many pixels in reach are set is a difference of running totals, which takes no longer for a longer reach.
        before = [(pixels + 1, pixels) if each == axis else (0, 0) for each in (0, 1)]
        totals = np.cumsum(np.pad(mask, before), axis=axis, dtype=np.int32)
        length = mask.shape[axis]
        ahead, behind = (np.take(totals, range(at, at + length), axis) for at in (2 * pixels + 1, 0))
        mask = ahead > behind
    return mask
