"""Regions of sketches, for the tests of what measures and describes them."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from schemas.geometry import Box


def marked(image: Image.Image, box: Box) -> Image.Image:
    """The picture with a red rectangle of width 3 around the box grown by 5 pixels."""
    copy, grown = image.copy(), box.grown(5)
    ImageDraw.Draw(copy).rectangle((grown.x0, grown.y0, grown.x1 - 1, grown.y1 - 1), outline=(255, 0, 0), width=3)
    return copy


def best_iou(box: Box, boxes: Sequence[Sequence[int]]) -> float:
    """How well a box fits the nearest of these (x0, y0, x1, y1)."""
    return max(
        (box.iou(Box(x0=b[0], y0=b[1], x1=b[2], y1=b[3], width=box.width, height=box.height)) for b in boxes),
        default=0.0,
    )
