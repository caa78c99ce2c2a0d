"""Red boxes, and two pictures side by side."""

from PIL import Image, ImageDraw

from common.pictures import pixels_of
from schemas.geometry import Box

RED = (255, 0, 0)
BLACK = (0, 0, 0)


def marked(image: Image.Image, box: Box, line_width: int) -> Image.Image:
    """A copy of the picture with the outermost `line_width` pixels of the box in red."""
    copy = image.copy()
    x0, y0, x1, y1 = pixels_of(box)
    ImageDraw.Draw(copy).rectangle((x0, y0, x1 - 1, y1 - 1), outline=RED, width=line_width)
    return copy


def side_by_side(first: Image.Image, second: Image.Image, bar_width: int) -> Image.Image:
    """The first picture, a black bar, the second picture; tops in line."""
    size = (first.width + bar_width + second.width, max(first.height, second.height))
    composite = Image.new("RGB", size, BLACK)
    composite.paste(first, (0, 0))
    composite.paste(second, (first.width + bar_width, 0))
    return composite
