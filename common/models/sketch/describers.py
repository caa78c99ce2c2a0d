"""Describers: what a region shows, and what differs between two pictures inside a red box."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.models.protocols import Description, DifferenceRequest, RegionRequest
from common.models.sketch.base import DefectRates, SketchModel, randomness
from common.models.sketch.language import EMPTY_PATCH, mentions_in, with_article
from common.models.sketch.recogniser import Sight, look
from common.models.sketch.scene import THEMES
from common.models.sketch.segmenter import SketchSegmenter
from common.models.sketch.truth import Defect, DescriptionTruth
from common.models.sketch.vocabulary import CONCEPTS, Concept
from schemas.geometry import Box

_SAME_THING_IOU = 0.3
"""A segment that overlaps a box at least so much may be what the box is about."""
_DOUBT = 0.15
"""A description stands when what it names looks at most so much less likely than the likeliest thing."""

_DIFFERENCES = (
    "In the left image the region shows {left}, while in the right image it shows {right}.",
    "The left image has {left} inside the red box; in the right image {right} is there instead.",
    "The red box holds {left} on the left and {right} on the right.",
)


class SketchRegionDescriber(SketchModel):
    """Says which pictogram a region shows, its colour and its ground.

    It looks at the whole picture, so that a thing which leaves its box is still recognised. The rates say how often it
    names another object, or only the kind; equal seeds make the same mistake.
    """

    role = "RegionDescriber"

    def __init__(
        self,
        *,
        wrong_description_rate: float = 0.03,
        vague_description_rate: float = 0.03,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(delay_s=delay_s)
        self._defects = DefectRates(
            {
                Defect.WRONG_DESCRIPTION: wrong_description_rate,
                Defect.VAGUE_DESCRIPTION: vague_description_rate,
            }
        )
        self._segmenter = SketchSegmenter(scales=(0, 4))

    def describe_regions(self, requests: Sequence[RegionRequest]) -> Sequence[Sequence[Description]]:
        self._wait()
        return [self._describe_picture(request) for request in requests]

    def _describe_picture(self, request: RegionRequest) -> list[Description]:
        segments = self._segmenter.segment([request.image])[0]
        return [
            self._describe(request.image, box, segments, seed)
            for box, seed in zip(request.boxes, request.seeds, strict=True)
        ]

    def _describe(self, image: Image.Image, box: Box, segments: Sequence[Box], seed: int) -> Description:
        sight = _clearest_sight(image, box, segments)
        ground = _ground_below(image, box)
        if not sight.clear:
            return Description(f"{EMPTY_PATCH} of {ground.removeprefix('a ')}", DescriptionTruth(None, None).fields())
        concept, rng = sight.best, randomness(seed, "description")
        colour = sight.colour_of(concept)
        defect = self._defects.draw(rng)
        if defect is Defect.VAGUE_DESCRIPTION:
            text = concept.kind.phrase
        else:
            named = _another(concept, rng) if defect is Defect.WRONG_DESCRIPTION else concept
            text = f"{with_article(f'{colour} {named.name}')} on {ground}"
        return Description(text, DescriptionTruth(defect, concept.name).fields())


class SketchDifferenceDescriber(SketchModel):
    """Says what is inside the red box on the left and on the right.

    It finds the box by its pixels and looks for itself; a description that it was given stands unless its own look
    contradicts it.
    """

    role = "DifferenceDescriber"

    def describe_differences(self, requests: Sequence[DifferenceRequest]) -> Sequence[Description]:
        self._wait()
        return [_difference(request) for request in requests]


def _difference(request: DifferenceRequest) -> Description:
    left = _inside(request.first, request.first_description)
    right = _inside(request.second, request.second_description)
    chosen = _DIFFERENCES[int(randomness(request.seed, "difference").integers(len(_DIFFERENCES)))]
    return Description(chosen.format(left=left, right=right))


def _inside(image: Image.Image, description: str) -> str:
    """What is inside the red box, given what was said about it."""
    marked = _red_box(image)
    sight = look(image.crop(marked)) if marked else None
    said = mentions_in(description)
    if said:
        concept = said[0].concept
        if sight is None or not sight.clear or sight.of(concept) >= sight.of(sight.best) - _DOUBT:
            return with_article(f"{said[0].colour} {concept.name}" if said[0].colour else concept.name)
    if sight is not None and sight.clear:
        return _in_its_colour(sight.best, sight)
    return description.strip().rstrip(".") or "nothing"


def _red_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """What a rectangle of pure red lines encloses, in pixels; None where there is none."""
    pixels = np.asarray(image.convert("RGB"))
    # Nearly pure: the pictures may have been through a lossy format. No fill of the palette comes near.
    red = (pixels[..., 0] > 235) & (pixels[..., 1] < 30) & (pixels[..., 2] < 30)
    across, down = np.flatnonzero(red.any(axis=0)), np.flatnonzero(red.any(axis=1))
    if not len(across) or not len(down):
        return None
    frame = red[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    left, right = _lines(frame.mean(axis=0))
    top, bottom = _lines(frame.mean(axis=1))
    x0, x1 = int(across[0]) + left, int(across[-1]) + 1 - right
    y0, y1 = int(down[0]) + top, int(down[-1]) + 1 - bottom
    return (x0, y0, x1, y1) if left and right and top and bottom and x0 < x1 and y0 < y1 else None


def _lines(shares: npt.NDArray[np.float64]) -> tuple[int, int]:
    """How many rows or columns at either end are mostly red."""
    inner = np.flatnonzero(shares < 0.9)
    return (int(inner[0]), len(shares) - 1 - int(inner[-1])) if len(inner) else (0, 0)


def _clearest_sight(image: Image.Image, box: Box, segments: Sequence[Box]) -> Sight:
    """Of the box and of the segments that it may be about, the one in which something is seen best."""
    views = [(1.0, box), *((overlap, each) for each in segments if (overlap := each.iou(box)) >= _SAME_THING_IOU)]
    sights = [(overlap, look(_cut(image, view))) for overlap, view in views]
    return max(sights, key=lambda sight: sqrt(sight[0]) * float(sight[1].likeness.max()))[1]


def _cut(image: Image.Image, box: Box) -> Image.Image:
    left, top = int(box.x0), int(box.y0)
    return image.crop((left, top, max(left + 1, round(box.x1)), max(top + 1, round(box.y1))))


def _ground_below(image: Image.Image, box: Box) -> str:
    """What the theme whose ground looks most like what is below the box calls it."""
    top = min(int(box.y1) + 2, image.height - 1)
    below = image.convert("RGB").crop((int(box.x0), top, max(int(box.x0) + 1, round(box.x1)), top + 4))
    tone = np.median(np.asarray(below).reshape(-1, 3), axis=0)
    nearest = min(THEMES.values(), key=lambda theme: min(np.abs(tone - ground).max() for ground in theme.ground))
    return nearest.ground_phrase


def _in_its_colour(concept: Concept, sight: Sight) -> str:
    return with_article(f"{sight.colour_of(concept)} {concept.name}")


def _another(concept: Concept, rng: np.random.Generator) -> Concept:
    """An object of another kind."""
    others = [other for other in CONCEPTS if other.kind is not concept.kind]
    return others[int(rng.integers(len(others)))]
