"""Pictures in pixels: cutting out a box, and bringing two pictures to one size."""

from collections.abc import Mapping
from math import ceil, floor

from PIL import Image

from common.runtime.stage import Picture
from schemas.geometry import Box


def pixels_of(box: Box) -> tuple[int, int, int, int]:
    """`x0, y0, x1, y1` of the whole pixels that the box touches, right and bottom exclusive: at least one pixel."""
    return floor(box.x0), floor(box.y0), ceil(box.x1), ceil(box.y1)


def crop(image: Image.Image, box: Box) -> Image.Image:
    """What the box shows, never empty. Raises ValueError where the box was measured on a picture of another size."""
    if image.size != (box.width, box.height):
        raise ValueError(f"a box of a {box.width}x{box.height} picture on one of {image.width}x{image.height}")
    return image.crop(pixels_of(box))


def pair_of(pictures: Mapping[str, Picture]) -> tuple[Image.Image, Image.Image]:
    """The first and the second picture of a pair, both in the size of the first."""
    first = pictures["first"].image
    return first, aligned(first, pictures["second"].image)


def aligned(first: Image.Image, second: Image.Image) -> Image.Image:
    """The second picture in the size of the first, so that one box holds in both."""
    return second if second.size == first.size else second.resize(first.size, Image.Resampling.BICUBIC)
