"""Pictograms as masks: rendered from the icon font, cut to what they cover."""

from functools import cache, lru_cache
from importlib import resources
from math import sqrt

from PIL import Image, ImageDraw, ImageFont

from common.models.sketch.vocabulary import Concept

_FONT = "static/fontawesomefree/webfonts/fa-solid-900.ttf"
_MASTER_SIZE = 192


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    with resources.as_file(resources.files("fontawesomefree") / _FONT) as path:
        # The basic layout engine is part of every Pillow; the other depends on what the machine has.
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _rendered(concept: Concept, size: int, stroke: int) -> Image.Image:
    """White on black with a margin, in mode L; masks of one size lie at the same place whatever their stroke."""
    canvas = Image.new("L", (size * 2, size * 2))
    ImageDraw.Draw(canvas).text(
        (size, size), chr(concept.glyph), font=_font(size), fill=255, anchor="mm", stroke_width=stroke, stroke_fill=255
    )
    return canvas


def _extent(mask: Image.Image) -> tuple[int, int, int, int]:
    box = mask.getbbox()
    if box is None:
        raise ValueError("the icon font has no such pictogram")
    return box


@cache
def master(concept: Concept) -> Image.Image:
    """The pictogram at a large size, mode L, cut to what it covers."""
    mask = _rendered(concept, _MASTER_SIZE, stroke=0)
    return mask.crop(_extent(mask))


def size_covering(concept: Concept, side: float) -> int:
    """The font size at which the pictogram's bounding box has an area of about `side` squared pixels."""
    width, height = master(concept).size
    return max(8, round(side * _MASTER_SIZE / sqrt(width * height)))


@lru_cache(maxsize=1024)
def sticker(concept: Concept, size: int, outline: int) -> tuple[Image.Image, Image.Image]:
    """Two masks of equal size, mode L: the pictogram with an outline of so many pixels, and the pictogram alone."""
    whole = _rendered(concept, size, stroke=outline)
    extent = _extent(whole)
    return whole.crop(extent), _rendered(concept, size, stroke=0).crop(extent)
