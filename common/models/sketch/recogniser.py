"""Recognising pictograms in pixels: flat patches of colour against a bank of silhouettes."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.models.sketch.glyphs import master
from common.models.sketch.palette import Rgb, colour_name
from common.models.sketch.vocabulary import CONCEPTS, Concept

_VIEW = 40
"""A picture is looked at with so many pixels a side at most."""
_SILHOUETTE = 24
_TONE_BITS = 4
_TONE_REACH = 26
"""Pixels within so many levels of a tone in every channel belong to it."""
_MOST_TONES = 5
_LEAST_TONE = 0.03
"""A tone covers at least this share of the picture."""
_LEAST_COVER, _FULL_COVER = 0.15, 0.5
"""A silhouette that covers less of the picture is not what the picture shows; one that covers more is all of it."""

_MOST_RIM = 1 / 3
"""A tone that holds more of the picture's rim is background."""

_CUTS = (0.14, 0.28)
_CUT_WEIGHT = 0.97
_SEEN = 0.72
"""From this likeness on something is taken for seen."""

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a picture looks like: for each concept, in the order of CONCEPTS, a likeness in [-1, 1], and a fill colour."""

    likeness: Float
    colours: tuple[str, ...]

    @property
    def best(self) -> Concept:
        return CONCEPTS[int(self.likeness.argmax())]

    @property
    def clear(self) -> bool:
        """Whether there is a known thing to be seen."""
        return float(self.likeness.max()) >= _SEEN

    def of(self, concept: Concept) -> float:
        return float(self.likeness[_index()[concept]])

    def colour_of(self, concept: Concept) -> str:
        """The name of the colour in which it looks most like the concept."""
        return self.colours[_index()[concept]]


@dataclass(frozen=True, slots=True)
class _Bank:
    """Silhouettes as `_views` gives them, concept by concept.

    `columns` has shape (pixels, concepts * views), each of length 1 with mean 0; `root_aspects` (the square root of how wide
    for its height) and `weights` have shape (concepts * views).
    """

    columns: Float
    root_aspects: Float
    weights: Float


@dataclass(frozen=True, slots=True)
class _Patch:
    """The pixels of one tone: their silhouette, like a column of the bank, how wide it is for its height, its share."""

    row: Float
    aspect: float
    cover: float
    tone: Rgb


def look(image: Image.Image) -> Sight:
    """What is to be seen in a picture of any size."""
    patches = _patches(image)
    if not patches:
        return Sight(np.zeros(len(CONCEPTS), np.float32), ("black",) * len(CONCEPTS))
    bank = _bank()
    narrowness = np.sqrt(np.array([[patch.aspect] for patch in patches], np.float32)) / bank.root_aspects
    # Not a matrix product: for one so small the threads of the BLAS cost more than they bring.
    likeness = np.einsum("ij,jk->ik", np.stack([patch.row for patch in patches]), bank.columns)
    likeness *= bank.weights * np.minimum(narrowness, 1 / narrowness)
    likeness *= np.array([[_covering(patch.cover)] for patch in patches], np.float32)
    by_concept = likeness.reshape(len(patches), len(CONCEPTS), -1).max(axis=2)
    names = [colour_name(patch.tone) for patch in patches]
    return Sight(by_concept.max(axis=0), tuple(names[i] for i in by_concept.argmax(axis=0).tolist()))


@cache
def _index() -> dict[Concept, int]:
    return {concept: index for index, concept in enumerate(CONCEPTS)}


def _covering(cover: float) -> float:
    return min(1.0, max(0.0, (cover - _LEAST_COVER) / (_FULL_COVER - _LEAST_COVER)))


def _patches(image: Image.Image) -> list[_Patch]:
    view = image.convert("RGB")
    if max(view.size) > _VIEW:
        view = view.resize((min(_VIEW, view.width), min(_VIEW, view.height)), Image.Resampling.NEAREST)
    pixels = np.asarray(view).astype(np.int16)
    patches = []
    for tone, mask in _tones(pixels):
        patch = _patch(mask, tone, image.width / image.height)
        if patch is not None:
            patches.append(patch)
    return patches


def _tones(pixels: npt.NDArray[np.int16]) -> list[tuple[Rgb, Mask]]:
    """The flat colours of a picture, most frequent first, and where each is."""
    channels = np.ascontiguousarray(pixels.reshape(-1, 3).T)
    codes = channels >> (8 - _TONE_BITS)
    bins = (codes[0] << (2 * _TONE_BITS)) | (codes[1] << _TONE_BITS) | codes[2]
    free = np.ones(len(bins), bool)
    tones: list[tuple[Rgb, Mask]] = []
    while len(tones) < _MOST_TONES and free.any():
        counts = np.bincount(bins[free])
        if counts.max() < _LEAST_TONE * len(bins):
            break
        members = free & (bins == counts.argmax())
        red, green, blue = (int(channel[members].sum()) // int(members.sum()) for channel in channels)
        near = _near(channels[0], red) & _near(channels[1], green) & _near(channels[2], blue)
        free &= ~(near | members)
        tones.append(((red, green, blue), near.reshape(pixels.shape[:2])))
    return tones


def _near(channel: npt.NDArray[np.int16], level: int) -> Mask:
    near: Mask = np.abs(channel - np.int16(level)) <= _TONE_REACH
    return near


def _patch(mask: Mask, tone: Rgb, picture_aspect: float) -> _Patch | None:
    """The silhouette of a mask, scaled to a square; None where it has no shape, or surrounds what there is to see."""
    if _rim_share(mask) > _MOST_RIM:
        return None
    across, down = np.flatnonzero(_counts(mask, 0)), np.flatnonzero(_counts(mask, 1))
    if not len(across) or not len(down):
        return None
    part = mask[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    row = _row(Image.fromarray(part).convert("L"))
    if row is None:
        return None
    # The view may be squeezed; the silhouette's true proportions are those of its picture.
    aspect = picture_aspect * (part.shape[1] / mask.shape[1]) / (part.shape[0] / mask.shape[0])
    return _Patch(row, aspect, part.size / mask.size, tone)


def _rim_share(mask: Mask) -> float:
    """Which share of the rim the mask holds."""
    rim = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return np.count_nonzero(rim) / len(rim)


def _counts(mask: Mask, axis: int) -> Mask:
    """Columns (axis 0) or rows (axis 1) with more than a stray pixel of the mask."""
    more: Mask = mask.sum(axis=axis) > (1 if min(mask.shape) > 4 else 0)
    return more


def _row(silhouette: Image.Image) -> Float | None:
    small: Float = np.asarray(silhouette.resize((_SILHOUETTE, _SILHOUETTE), Image.Resampling.BOX), np.float32).ravel()
    small -= small.mean()
    length = np.sqrt(small @ small)
    return small / length if length > 1 else None


@cache
def _bank() -> _Bank:
    views = [view for concept in CONCEPTS for view in _views(master(concept))]
    rows = [_row(image) for _, image in views]
    if any(row is None for row in rows):
        raise ValueError("a pictogram of the vocabulary has no silhouette")
    return _Bank(
        np.stack([row for row in rows if row is not None], axis=1),
        np.sqrt(np.array([image.width / image.height for _, image in views], np.float32)),
        np.array([weight for weight, _ in views], np.float32),
    )


def _views(whole: Image.Image) -> list[tuple[float, Image.Image]]:
    """A silhouette as it is, and cut as by a box that is too small: above, below, or on both sides; with its weight."""
    width, height = whole.size
    cuts = [
        extent
        for share in _CUTS
        for extent in (
            (0, round(height * share), width, height),
            (0, 0, width, round(height * (1 - share))),
            (round(width * share / 2), 0, round(width * (1 - share / 2)), height),
        )
    ]
    views = [(1.0, whole), *((_CUT_WEIGHT, whole.crop(extent)) for extent in cuts)]
    return [(weight, view.crop(view.getbbox())) for weight, view in views]
