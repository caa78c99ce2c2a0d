"""The stage of `boxes`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image

from common.models.protocols import ImageEncoder, ImageTextMatcher, Segmenter
from common.pictures import crop, pair_of, pixels_of
from common.runtime.errors import ConfigurationError
from common.runtime.stage import Emit, Reject, Task
from common.similarity import pair_cosines
from schemas.boxes import DifferenceBox
from schemas.pairs import Pair
from schemas.scores import Scores
from schemas.trail import ModelId
from workers.boxes.candidates import CandidateBox, as_candidates, nearest_first
from workers.boxes.object_words import ObjectWords, object_words
from workers.boxes.reasons import BoxesReason
from workers.boxes.settings import BoxesSettings, ObjectRule
from workers.boxes.suppression import suppress


@dataclass
class _Pair:
    """One input on its way through the filters; undecided as long as it has no reason."""

    task: Task[Pair]
    words: ObjectWords
    scores: Scores = field(default_factory=dict)
    candidates: list[CandidateBox] = field(default_factory=list)
    reason: BoxesReason | None = None

    @cached_property
    def pictures(self) -> tuple[Image.Image, Image.Image]:
        return pair_of(self.task.pictures)


@dataclass(frozen=True)
class _Place:
    """Candidates of one pair that cut the same pixels and are held against the same words: measured once for all."""

    pair: _Pair
    candidates: Sequence[CandidateBox]
    crossed: bool
    """Whether the crop of the second picture is held against the words of the first caption, and the other way round."""

    @property
    def crops(self) -> tuple[Image.Image, Image.Image]:
        """What the place shows in the first and in the second picture."""
        first, second = self.pair.pictures
        box = self.candidates[0].box
        return crop(first, box), crop(second, box)


class BoxesStage:
    """Finds the boxes in which a pair differs, most different first.

    The filters are the published ones. They are applied from cheap to dear, crop difference before object match, which
    leaves the same boxes as the published order: a box has to pass both.
    """

    def __init__(
        self, settings: BoxesSettings, encoder: ImageEncoder, segmenter: Segmenter, matcher: ImageTextMatcher
    ) -> None:
        """Raises ConfigurationError where the matcher scores on another scale than the bounds are meant for."""
        if matcher.scale is not settings.object_match_scale:
            raise ConfigurationError(
                f"setting `boxes.object_match_scale`: found {settings.object_match_scale.value!r}, expected the scale of "
                f"the matcher {matcher.identity.id}, {matcher.scale.value!r}, and `boxes.object_match` to suit it"
            )
        self.models: Sequence[ModelId] = (encoder.identity, segmenter.identity, matcher.identity)
        self._settings = settings
        self._encoder = encoder
        self._segmenter = segmenter
        self._matcher = matcher

    def process(self, batch: Sequence[Task[Pair]]) -> list[Emit[DifferenceBox] | Reject]:
        """Between one and `max_boxes` boxes of each pair, or why there is none."""
        pairs = [_Pair(task, object_words(task.record.caption, task.record.edited_caption)) for task in batch]
        for step in (
            self._require_words,
            self._compare_pictures,
            self._find_candidates,
            self._compare_crops,
            self._match_objects,
        ):
            if undecided := [pair for pair in pairs if pair.reason is None]:
                step(undecided)
        return [self._outcome(pair) for pair in pairs]

    def _require_words(self, pairs: Sequence[_Pair]) -> None:
        for pair in pairs:
            if not pair.words.suffice_for(self._settings.object_rule):
                pair.reason = BoxesReason.NO_OBJECT_WORDS

    def _compare_pictures(self, pairs: Sequence[_Pair]) -> None:
        cosines = pair_cosines(self._encoder.encode_images([picture for pair in pairs for picture in pair.pictures]))
        for pair, cosine in zip(pairs, cosines, strict=True):
            digits = self._settings.round_similarity_to
            score = self._settings.pair_similarity.measure(cosine if digits is None else round(cosine, digits))
            pair.scores["pair_similarity"] = score
            if not score.passes:
                pair.reason = BoxesReason.PAIR_TOO_DIFFERENT if score.too_low else BoxesReason.PAIR_TOO_SIMILAR

    def _find_candidates(self, pairs: Sequence[_Pair]) -> None:
        segments = self._segmenter.segment([picture for pair in pairs for picture in pair.pictures])
        for pair, first, second in zip(pairs, segments[::2], segments[1::2], strict=True):
            pair.candidates += [CandidateBox("first", i, box) for i, box in enumerate(first)]
            pair.candidates += [CandidateBox("second", i, box) for i, box in enumerate(second)]
            if not pair.candidates:
                pair.reason = BoxesReason.NO_SEGMENTS

    def _compare_crops(self, pairs: Sequence[_Pair]) -> None:
        for places in self._chunks(_places(pairs, cross_second=False)):
            cosines = pair_cosines(self._encoder.encode_images([cut for place in places for cut in place.crops]))
            for place, cosine in zip(places, cosines, strict=True):
                score = self._settings.crop_similarity.measure(cosine)
                for box in place.candidates:
                    box.judge("crop_similarity", score, BoxesReason.CROPS_TOO_DIFFERENT, BoxesReason.CROPS_TOO_SIMILAR)

    def _match_objects(self, pairs: Sequence[_Pair]) -> None:
        for places in self._chunks(_places(pairs, cross_second=self._settings.swap_crops_of_second_boxes)):
            for place, value in zip(places, self._best_matches(places), strict=True):
                score = self._settings.object_match.measure(value)
                for box in place.candidates:
                    box.judge("object_match", score, BoxesReason.OBJECT_MISMATCH, BoxesReason.OBJECT_MISMATCH)

    def _best_matches(self, places: Sequence[_Place]) -> list[float]:
        """For each place the best score of its crops with their words, or the worse crop's best under the rule `both`."""
        crops: list[Image.Image] = []
        texts: list[Sequence[str]] = []
        owners: list[int] = []
        for owner, place in enumerate(places):
            words = (place.pair.words.first, place.pair.words.second)
            for cut, own in zip(place.crops, reversed(words) if place.crossed else words, strict=True):
                if own:
                    crops.append(cut)
                    texts.append(own)
                    owners.append(owner)
        best: list[list[float]] = [[] for _ in places]
        for owner, scores in zip(owners, self._matcher.match(crops, texts), strict=True):
            best[owner].append(max(scores))
        pick = min if self._settings.object_rule is ObjectRule.BOTH else max
        return [pick(sides) for sides in best]

    def _chunks(self, places: Sequence[_Place]) -> Iterator[Sequence[_Place]]:
        size = self._settings.crops_per_call // 2
        return (places[start : start + size] for start in range(0, len(places), size))

    def _outcome(self, pair: _Pair) -> Emit[DifferenceBox] | Reject:
        if pair.reason is not None:
            return Reject(pair.reason, pair.scores)
        kept = self._select([box for box in pair.candidates if box.reason is None])
        dropped = [box for box in pair.candidates if box.reason is not None]
        if not kept:
            return _rejected(pair, dropped)
        return Emit(
            records=[
                pair.task.record.derive(
                    DifferenceBox,
                    rank,
                    box=box.box,
                    found_in=box.found_in,
                    first_objects=pair.words.first,
                    second_objects=pair.words.second,
                )
                for rank, box in enumerate(kept)
            ],
            scores=pair.scores,
            dropped=as_candidates(dropped),
            record_scores=[box.scores for box in kept],
        )

    def _select(self, passed: list[CandidateBox]) -> list[CandidateBox]:
        if self._settings.sort_by_difference:
            passed = sorted(passed, key=lambda box: box.scores["crop_similarity"].value)
        apart = suppress(passed, self._settings.overlap, adds_pixel=self._settings.overlap_adds_pixel)
        first = _capped(apart, self._settings.max_boxes_before_area)
        for box in first:
            score = self._settings.area_share.measure(box.box.area_share)
            box.judge("area_share", score, BoxesReason.BOX_TOO_SMALL, BoxesReason.BOX_TOO_LARGE)
        return _capped([box for box in first if box.reason is None], self._settings.max_boxes)


def _capped(boxes: Sequence[CandidateBox], cap: int | None) -> list[CandidateBox]:
    """The first ones; the others get their reason."""
    end = len(boxes) if cap is None else cap
    for box in boxes[end:]:
        box.reason = BoxesReason.BEYOND_CAP
    return list(boxes[:end])


def _places(pairs: Sequence[_Pair], *, cross_second: bool) -> list[_Place]:
    """The undecided candidates by place. Things that did not change are found in both pictures, at the same place."""
    places: list[_Place] = []
    for pair in pairs:
        groups: dict[tuple[tuple[int, int, int, int], bool], list[CandidateBox]] = {}
        for box in pair.candidates:
            if box.reason is None:
                crossed = cross_second and box.found_in == "second"
                groups.setdefault((pixels_of(box.box), crossed), []).append(box)
        places += [_Place(pair, boxes, crossed) for (_, crossed), boxes in groups.items()]
    return places


def _rejected(pair: _Pair, dropped: Sequence[CandidateBox]) -> Reject:
    """The pair's reason is that of the candidate that got furthest."""
    best = nearest_first(dropped)[0]
    assert best.reason is not None
    return Reject(
        best.reason,
        {**pair.scores, **best.scores},
        detail=f"box {best.label}, of {len(dropped)} the one that got furthest",
        dropped=as_candidates(dropped),
    )
