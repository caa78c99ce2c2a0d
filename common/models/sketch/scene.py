"""Scenes: a painted background with pictograms on it, all of it drawn from one generator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from common.models.sketch.glyphs import size_covering, sticker
from common.models.sketch.palette import COLOURS, Paint, Rgb, contrast
from common.models.sketch.vocabulary import Concept

SIZE = 256
"""Width and height of every picture in pixels."""

_OUTLINE = 2
_MARGIN = 10
"""Nothing stands nearer to the rim, so that what touches the rim is background."""
_GAP = 16
"""Between two things, in pixels: enough for a segmenter to tell them apart."""
_CLOUD_FLOOR = 48
"""Clouds hang above this line, things stand below it."""
_HORIZON = (112, 146)
_FARTHEST_BASE = 156
"""Things stand on the ground, nearer than any horizon."""
_LEAST_CONTRAST = 52
_PLACING_ATTEMPTS = 40

Pixels = npt.NDArray[np.uint8]


class Decor(StrEnum):
    """What is painted between the sky (or wall) and the ground."""

    HILLS = "hills"
    SEA = "sea"
    SKYLINE = "skyline"
    STRIPES = "stripes"
    TILES = "tiles"


@dataclass(frozen=True, slots=True)
class Theme:
    """A sort of background: the words of a caption that ask for it, what a describer calls its ground, its colours."""

    words: frozenset[str]
    ground_phrase: str
    above: tuple[Rgb, Rgb]
    ground: tuple[Rgb, Rgb]
    decor: Decor
    decor_colour: Rgb

    @property
    def tones(self) -> tuple[Rgb, ...]:
        """The colours that a thing has to stand out from."""
        return (*self.above, *self.ground, self.decor_colour)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


THEMES: Mapping[str, Theme] = {
    "meadow": Theme(
        _words("grass grassy field meadow pasture park lawn hill hills farm grazing lush yard forest zoo garden trees"),
        "green grass",
        ((176, 214, 246), (222, 238, 250)),
        ((176, 218, 138), (150, 200, 112)),
        Decor.HILLS,
        (188, 220, 178),
    ),
    "beach": Theme(
        _words("beach ocean sea sand sandy wave waves surf shore water lake river boat boats surfboard"),
        "a sandy beach",
        ((168, 220, 244), (226, 242, 248)),
        ((246, 226, 184), (238, 212, 162)),
        Decor.SEA,
        (132, 198, 222),
    ),
    "street": Theme(
        _words("street road city sidewalk traffic intersection highway parking parked corner downtown curb station"),
        "a grey street",
        ((198, 216, 238), (236, 238, 244)),
        ((204, 206, 214), (184, 187, 196)),
        Decor.SKYLINE,
        (206, 210, 226),
    ),
    "snow": Theme(
        _words("snow snowy ski skis skiing slope snowboard winter ice snowboarding"),
        "white snow",
        ((186, 204, 236), (220, 228, 246)),
        ((240, 244, 252), (226, 234, 246)),
        Decor.HILLS,
        (206, 216, 240),
    ),
    "room": Theme(
        _words("room living bedroom couch sofa bed sitting office desk table wooden floor indoors home"),
        "a wooden floor",
        ((244, 232, 210), (240, 226, 202)),
        ((224, 188, 144), (210, 170, 124)),
        Decor.STRIPES,
        (234, 216, 190),
    ),
    "kitchen": Theme(
        _words(
            "kitchen bathroom toilet sink oven stove refrigerator shower tub counter tiled plate restaurant food meal"
        ),
        "a tiled floor",
        ((212, 236, 232), (204, 228, 226)),
        ((222, 228, 232), (202, 212, 220)),
        Decor.TILES,
        (192, 218, 218),
    ),
}


@dataclass(frozen=True, slots=True)
class Footprint:
    """Where a thing stands: it is centred over `x` and its lowest pixel row is just above `base`."""

    x: int
    base: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in pixels, right and bottom edge exclusive."""
        left = self.x - self.width // 2
        return left, self.base - self.height, left + self.width, self.base

    def crowds(self, other: "Footprint") -> bool:
        """Whether less than the gap lies between the two."""
        a, b = self.box, other.box
        return a[0] < b[2] + _GAP and b[0] < a[2] + _GAP and a[1] < b[3] + _GAP and b[1] < a[3] + _GAP


@dataclass(frozen=True, slots=True)
class Thing:
    """A pictogram of a scene: what, how large (font size), in which paint."""

    concept: Concept
    size: int
    paint: Paint

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height in pixels, with the outline."""
        return sticker(self.concept, self.size, _OUTLINE)[0].size


def thing(concept: Concept, side: float, colour: str | None, theme: Theme, rng: np.random.Generator) -> Thing:
    """A pictogram covering about `side` squared pixels, in the colour asked for or one of its own that stands out."""
    visible = [name for name in concept.colours if _stands_out(name, theme)] or [
        max(COLOURS, key=lambda name: min(contrast(COLOURS[name], tone) for tone in theme.tones))
    ]
    drawn = int(rng.integers(2 * len(visible)))
    usual = visible[drawn] if drawn < len(visible) else visible[0]
    chosen = colour if colour is not None and _stands_out(colour, theme) else usual
    return Thing(concept, size_covering(concept, side), Paint(chosen))


def _stands_out(colour: str, theme: Theme) -> bool:
    return all(contrast(COLOURS[colour], tone) >= _LEAST_CONTRAST for tone in theme.tones)


class Layout:
    """Finds places that do not crowd each other."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._taken: list[Footprint] = []

    def place(self, things: Sequence[Thing]) -> Footprint | None:
        """A place where any of these things can stand (they share it, one per picture); None where none is free."""
        width = max(each.extent[0] for each in things)
        height = max(each.extent[1] for each in things)
        for _ in range(_PLACING_ATTEMPTS):
            footprint = Footprint(
                x=int(self._rng.integers(_MARGIN + width // 2, SIZE - _MARGIN - width // 2)),
                base=int(self._rng.integers(max(_FARTHEST_BASE, _CLOUD_FLOOR + _GAP + height), SIZE - _MARGIN)),
                width=width,
                height=height,
            )
            if not any(footprint.crowds(other) for other in self._taken):
                self._taken.append(footprint)
                return footprint
        return None


def theme_of(caption: str, rng: np.random.Generator) -> str:
    """The name of the theme whose words the caption has most of, else a drawn one."""
    words = frozenset(caption.lower().replace(".", " ").replace(",", " ").split())
    fits = {name: len(theme.words & words) for name, theme in THEMES.items()}
    drawn = list(THEMES)[int(rng.integers(len(THEMES)))]
    best = max(fits.values())
    return next(name for name, fit in fits.items() if fit == best) if best else drawn


def paint_background(theme: Theme, rng: np.random.Generator) -> Image.Image:
    """A background with nothing on it, RGB: its tones vary by row, its texture is too faint to be taken for a thing."""
    horizon = int(rng.integers(*_HORIZON))
    image, ground = _wash(theme.above), _wash(theme.ground, SIZE - horizon)
    _decorate(ImageDraw.Draw(image), theme, horizon, rng)
    if theme.decor is Decor.STRIPES:
        for row in range(14, ground.height, 22):
            ImageDraw.Draw(ground).line((0, row, SIZE, row), fill=theme.ground[1])
    image.paste(ground, (0, horizon))
    texture = np.repeat(np.repeat(rng.integers(-2, 3, (SIZE // 4, SIZE // 4), np.int16), 4, axis=0), 4, axis=1)
    return Image.fromarray(_shifted(np.asarray(image), texture[:, :, None]))


def put(image: Image.Image, thing: Thing, footprint: Footprint) -> None:
    """Draws the thing at its place."""
    whole, inner = sticker(thing.concept, thing.size, _OUTLINE)
    corner = (footprint.x - whole.width // 2, footprint.base - whole.height)
    image.paste(thing.paint.outline, corner, whole)
    image.paste(thing.paint.fill, corner, inner)


def with_grain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture with a sensor's grain: a few pixels a little brighter or darker."""
    pixels = np.asarray(image).copy()
    where = rng.integers(0, SIZE, (2, SIZE))
    pixels[where[0], where[1]] = _shifted(pixels[where[0], where[1]], rng.integers(-5, 6, (SIZE, 1), np.int16))
    return Image.fromarray(pixels)


def _wash(tones: tuple[Rgb, Rgb], height: int = SIZE) -> Image.Image:
    """From one tone above to another below, as wide as a picture."""
    share = np.arange(height)[:, None] / (height - 1)
    rows = np.rint(np.asarray(tones[0]) * (1 - share) + np.asarray(tones[1]) * share).astype(np.uint8)
    return Image.fromarray(np.repeat(rows[:, None], SIZE, axis=1))


def _shifted(pixels: Pixels, by: npt.NDArray[np.int16]) -> Pixels:
    shifted: Pixels = np.clip(pixels.astype(np.int16) + by, 0, 255).astype(np.uint8)
    return shifted


def _decorate(draw: ImageDraw.ImageDraw, theme: Theme, horizon: int, rng: np.random.Generator) -> None:
    """What stands above the horizon; whatever reaches below it is covered by the ground."""
    colour = theme.decor_colour
    match theme.decor:
        case Decor.HILLS:
            _clouds(draw, rng)
            for _ in range(3):
                centre, half, rise = (int(v) for v in rng.integers((-30, 90, 14), (SIZE + 30, 190, 40)))
                draw.ellipse((centre - half, horizon - rise, centre + half, horizon + rise), fill=colour)
            draw.rectangle((0, horizon - 4, SIZE, horizon), fill=colour)
        case Decor.SEA:
            _clouds(draw, rng)
            draw.rectangle((0, horizon - 26, SIZE, horizon), fill=colour)
        case Decor.SKYLINE:
            left = -8
            while left < SIZE:
                width, rise = (int(v) for v in rng.integers((22, 18), (44, 58)))
                draw.rectangle((left, horizon - rise, left + width, horizon), fill=colour)
                left += width
        case Decor.STRIPES:
            for left in range(int(rng.integers(0, 16)), SIZE, 32):
                draw.rectangle((left, 0, left + 12, horizon - 6), fill=colour)
        case Decor.TILES:
            for line in range(int(rng.integers(0, 24)), SIZE, 24):
                draw.line((line, 0, line, horizon), fill=colour)
                draw.line((0, line, SIZE, line), fill=colour)
            draw.rectangle((0, horizon - 5, SIZE, horizon), fill=colour)


def _clouds(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    for _ in range(2):
        x, y = (int(v) for v in rng.integers((24, 22), (SIZE - 64, _CLOUD_FLOOR - 14)))
        for across, down, half in ((0, 4, 9), (13, 0, 13), (29, 3, 10)):
            draw.ellipse((x + across - half, y + down - half, x + across + half, y + down + half), fill=(246, 250, 253))
