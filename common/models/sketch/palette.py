"""Colours by name: the eleven basic colour terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

Rgb = tuple[int, int, int]

COLOURS: Mapping[str, Rgb] = {
    "red": (206, 52, 58),
    "orange": (228, 116, 30),
    "yellow": (242, 196, 36),
    "green": (40, 128, 68),
    "blue": (42, 98, 186),
    "purple": (124, 66, 158),
    "pink": (222, 98, 148),
    "brown": (124, 76, 42),
    "black": (46, 46, 54),
    "grey": (112, 116, 126),
    "white": (250, 250, 247),
}
"""None is the pure red (255, 0, 0) that marks a region."""

_LIGHT_OUTLINE: Rgb = (253, 253, 250)
_DARK_OUTLINE: Rgb = (48, 48, 58)


@dataclass(frozen=True, slots=True)
class Paint:
    """A named fill and the outline that sets it off."""

    name: str

    @property
    def fill(self) -> Rgb:
        return COLOURS[self.name]

    @property
    def outline(self) -> Rgb:
        return _DARK_OUTLINE if luma(self.fill) > 165 else _LIGHT_OUTLINE


def luma(colour: Rgb) -> int:
    """Brightness in 0..255 (Rec. 601, in integers)."""
    red, green, blue = colour
    return (299 * red + 587 * green + 114 * blue) // 1000


def contrast(one: Rgb, other: Rgb) -> int:
    """The largest difference of a channel."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@lru_cache(maxsize=4096)
def colour_name(colour: Rgb) -> str:
    """The name of the nearest colour."""
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], colour, strict=True)))
