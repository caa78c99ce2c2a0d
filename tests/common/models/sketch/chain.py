"""The published chain (papers.md 1.4 to 1.7) in a few lines, over the sketch models: what the end-to-end tests stand on.

The stages in `workers/` are the product; this is a second, independent reading of the same rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from common.models.protocols import DifferenceRequest, DrawnPair, RegionRequest
from common.models.sketch.describers import SketchDifferenceDescriber, SketchRegionDescriber
from common.models.sketch.encoders import SketchImageEncoder, SketchTextEncoder
from common.models.sketch.language import words_of
from common.models.sketch.matcher import SketchMatcher
from common.models.sketch.segmenter import SketchSegmenter
from schemas.geometry import Box


class Filter(StrEnum):
    BLANK = "blank"
    PAIR_TOO_DIFFERENT = "pair_too_different"
    PAIR_TOO_SIMILAR = "pair_too_similar"
    OBJECT_MATCH = "object_match"
    CROP_SIMILARITY = "crop_similarity"
    OVERLAP = "overlap"
    TEXT_MATCH = "text_match"
    TEXT_SIMILARITY = "text_similarity"


@dataclass(frozen=True)
class Dropped:
    box: Box
    by: Filter


@dataclass(frozen=True)
class Accepted:
    box: Box
    first_description: str
    second_description: str
    difference: str


@dataclass
class Outcome:
    """What became of a pair: dropped as a whole by `pair`, or box by box."""

    similarity: float
    pair: Filter | None = None
    dropped: list[Dropped] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    description_truths: list[dict[str, Any]] = field(default_factory=list)


class Chain:
    """The filters of the profile `paper`, on sketch models."""

    def __init__(self, describer: SketchRegionDescriber) -> None:
        self._encoder = SketchImageEncoder()
        self._texts = SketchTextEncoder()
        self._segmenter = SketchSegmenter()
        self._matcher = SketchMatcher()
        self._describer = describer
        self._difference = SketchDifferenceDescriber()

    def run(self, caption: str, edited: str, pair: DrawnPair, seed: int) -> Outcome:
        outcome = Outcome(self._similarity(pair.first, pair.second))
        if any(image.getextrema() == ((0, 0),) * 3 for image in (pair.first, pair.second)):
            outcome.pair = Filter.BLANK
        elif outcome.similarity <= 0.9:
            outcome.pair = Filter.PAIR_TOO_DIFFERENT
        elif outcome.similarity >= 0.98:
            outcome.pair = Filter.PAIR_TOO_SIMILAR
        else:
            boxes = self._boxes(caption, edited, pair, outcome)
            self._describe(pair, boxes, seed, outcome)
        return outcome

    def _similarity(self, first: Image.Image, second: Image.Image) -> float:
        vectors = self._encoder.encode_images([first, second])
        return float(vectors[0] @ vectors[1])

    def _boxes(self, caption: str, edited: str, pair: DrawnPair, outcome: Outcome) -> list[Box]:
        first_words, second_words = _only_in(caption, edited), _only_in(edited, caption)
        candidates: list[tuple[float, Box]] = []
        for box in [box for boxes in self._segmenter.segment([pair.first, pair.second]) for box in boxes]:
            crops = [_crop(image, box) for image in (pair.first, pair.second)]
            scores = self._matcher.match(crops, [first_words, second_words])
            if not any(score > 0.35 for row in scores for score in row):
                outcome.dropped.append(Dropped(box, Filter.OBJECT_MATCH))
                continue
            similarity = self._similarity(*crops)
            if similarity >= 0.85:
                outcome.dropped.append(Dropped(box, Filter.CROP_SIMILARITY))
                continue
            candidates.append((similarity, box))
        kept: list[Box] = []
        for _, box in sorted(candidates, key=lambda candidate: candidate[0]):
            if any(box.iou(other) > 0.5 for other in kept):
                outcome.dropped.append(Dropped(box, Filter.OVERLAP))
            else:
                kept.append(box)
        return kept[:5]

    def _describe(self, pair: DrawnPair, boxes: Sequence[Box], seed: int, outcome: Outcome) -> None:
        seeds = [seed * 10 + index for index in range(len(boxes))]
        sides = self._describer.describe_regions(
            [RegionRequest(pair.first, boxes, seeds), RegionRequest(pair.second, boxes, seeds)]
        )
        for box, box_seed, left, right in zip(boxes, seeds, *sides, strict=True):
            outcome.description_truths.append({"box": box, "first": dict(left.truth), "second": dict(right.truth)})
            crops = [_crop(image, box.grown(5)) for image in (pair.first, pair.second)]
            scores = self._matcher.match(crops, [[left.text], [right.text]])
            vectors = self._texts.encode_texts([left.text, right.text])
            if not all(row[0] > 0.4 for row in scores):
                outcome.dropped.append(Dropped(box, Filter.TEXT_MATCH))
            elif float(vectors[0] @ vectors[1]) >= 0.85:
                outcome.dropped.append(Dropped(box, Filter.TEXT_SIMILARITY))
            else:
                difference = self._say(pair, box, left.text, right.text, box_seed)
                outcome.accepted.append(Accepted(box, left.text, right.text, difference))

    def _say(self, pair: DrawnPair, box: Box, left: str, right: str, seed: int) -> str:
        first, second = (marked(image, box) for image in (pair.first, pair.second))
        composite = Image.new("RGB", (first.width * 2 + 20, first.height))
        composite.paste(first, (0, 0))
        composite.paste(second, (first.width + 20, 0))
        request = DifferenceRequest(first, second, composite, left, right, seed)
        return self._difference.describe_differences([request])[0].text


def marked(image: Image.Image, box: Box) -> Image.Image:
    """The picture with a red rectangle of width 3 around the box grown by 5 pixels."""
    copy, grown = image.copy(), box.grown(5)
    ImageDraw.Draw(copy).rectangle((grown.x0, grown.y0, grown.x1 - 1, grown.y1 - 1), outline=(255, 0, 0), width=3)
    return copy


def truth_iou(box: Box, boxes: Sequence[Sequence[int]]) -> float:
    """How well a box fits the nearest of these (x0, y0, x1, y1)."""
    return max(
        (box.iou(Box(x0=b[0], y0=b[1], x1=b[2], y1=b[3], width=box.width, height=box.height)) for b in boxes),
        default=0.0,
    )


def _only_in(text: str, other: str) -> list[str]:
    others = {word.text for word in words_of(other)}
    return [word.text for word in words_of(text) if word.text not in others]


def _crop(image: Image.Image, box: Box) -> Image.Image:
    return image.crop((int(box.x0), int(box.y0), int(np.ceil(box.x1)), int(np.ceil(box.y1))))
