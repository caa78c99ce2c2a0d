"""The stage of `region-captions`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from PIL import Image

from common.models.protocols import Description, ImageTextMatcher, RegionDescriber, RegionRequest, TextEncoder
from common.pictures import crop, pair_of
from common.runtime.errors import ConfigurationError
from common.runtime.stage import Emit, Reject, Task
from common.similarity import pair_cosines
from schemas.boxes import DifferenceBox
from schemas.ids import seed_of
from schemas.record import MAX_TEXT_LENGTH
from schemas.region_captions import RegionCaption
from schemas.scores import Score, Scores
from schemas.trail import ModelId
from workers.region_captions.reasons import RegionCaptionsReason
from workers.region_captions.settings import RegionCaptionsSettings


@dataclass
class _Region:
    """One input on its way through the filters; undecided as long as it has no reason."""

    task: Task[DifferenceBox]
    descriptions: Sequence[Description] = ()
    """Of the first and of the second picture."""
    scores: Scores = field(default_factory=dict)
    reason: RegionCaptionsReason | None = None

    @property
    def record(self) -> DifferenceBox:
        return self.task.record

    @cached_property
    def seed(self) -> int:
        """The same for both pictures, so that descriptions differ because the pictures do."""
        return seed_of(self.record.id, "describe")

    @cached_property
    def pictures(self) -> tuple[Image.Image, Image.Image]:
        return pair_of(self.task.pictures)

    @property
    def texts(self) -> list[str]:
        return [" ".join(description.text.split()) for description in self.descriptions]


class RegionCaptionsStage:
    """Describes a box in both pictures; passes on what the pictures bear out and what tells them apart."""

    def __init__(
        self,
        settings: RegionCaptionsSettings,
        describer: RegionDescriber,
        matcher: ImageTextMatcher,
        encoder: TextEncoder,
    ) -> None:
        """Raises ConfigurationError where the matcher scores on another scale than the bounds are meant for."""
        if matcher.scale is not settings.text_match_scale:
            raise ConfigurationError(
                f"setting `region_captions.text_match_scale`: found {settings.text_match_scale.value!r}, expected the "
                f"scale of the matcher {matcher.identity.id}, {matcher.scale.value!r}, and "
                "`region_captions.text_match` to suit it"
            )
        self.models: Sequence[ModelId] = (describer.identity, matcher.identity, encoder.identity)
        self._settings = settings
        self._describer = describer
        self._matcher = matcher
        self._encoder = encoder

    def process(self, batch: Sequence[Task[DifferenceBox]]) -> list[Emit[RegionCaption] | Reject]:
        """One region caption for each box, or why there is none."""
        regions = [_Region(task) for task in batch]
        for step in (self._describe, self._check_texts, self._measure):
            if undecided := [region for region in regions if region.reason is None]:
                step(undecided)
        return [_outcome(region) for region in regions]

    def _describe(self, regions: Sequence[_Region]) -> None:
        """One request per picture with all its boxes. Both pictures of a pair stand next to each other."""
        groups = [list(group) for _, group in groupby(regions, key=lambda region: region.record.digests)]
        requests = [
            RegionRequest(
                image=picture,
                boxes=[region.record.box for region in group],
                seeds=[region.seed for region in group],
            )
            for group in groups
            for picture in group[0].pictures
        ]
        replies = self._describer.describe_regions(requests)
        for group, first, second in zip(groups, replies[::2], replies[1::2], strict=True):
            for region, *descriptions in zip(group, first, second, strict=True):
                region.descriptions = descriptions

    def _check_texts(self, regions: Sequence[_Region]) -> None:
        for region in regions:
            lengths = [len(text) for text in region.texts]
            if min(lengths) == 0:
                region.reason = RegionCaptionsReason.EMPTY_DESCRIPTION
            elif max(lengths) > MAX_TEXT_LENGTH:
                region.reason = RegionCaptionsReason.DESCRIPTION_TOO_LONG

    def _measure(self, regions: Sequence[_Region]) -> None:
        """Both scores of every region: next to the descriptions they cost nothing, and bounds can be tuned again later."""
        texts = [text for region in regions for text in region.texts]
        matches = self._matcher.match([cut for region in regions for cut in self._crops(region)], [[t] for t in texts])
        cosines = pair_cosines(self._encoder.encode_texts(texts))
        text_match = self._settings.bounds()["text_match"]
        for region, first, second, cosine in zip(regions, matches[::2], matches[1::2], cosines, strict=True):
            match = text_match.measure(min(first[0], second[0]))
            similarity = self._settings.text_similarity.measure(cosine)
            region.scores |= {"text_match": match, "text_similarity": similarity}
            reasons = [_mismatch(match), _similarity_reason(similarity)]
            if self._settings.text_similarity_first:
                reasons.reverse()
            region.reason = reasons[0] or reasons[1]

    def _crops(self, region: _Region) -> list[Image.Image]:
        box = region.record.box.grown(self._settings.crop_padding)
        return [crop(picture, box) for picture in region.pictures]


def _mismatch(match: Score) -> RegionCaptionsReason | None:
    return None if match.passes else RegionCaptionsReason.TEXT_MISMATCH


def _similarity_reason(similarity: Score) -> RegionCaptionsReason | None:
    if similarity.passes:
        return None
    too_low, too_high = RegionCaptionsReason.TEXTS_TOO_DIFFERENT, RegionCaptionsReason.TEXTS_TOO_SIMILAR
    return too_low if similarity.too_low else too_high


def _outcome(region: _Region) -> Emit[RegionCaption] | Reject:
    if region.reason is not None:
        return Reject(region.reason, region.scores, detail=" | ".join(region.texts))
    first, second = region.texts
    truths = {"first": region.descriptions[0].truth, "second": region.descriptions[1].truth}
    return Emit(
        records=[region.record.derive(RegionCaption, 0, first_description=first, second_description=second)],
        scores=region.scores,
        seed=region.seed,
        truth={side: dict(truth) for side, truth in truths.items() if truth},
    )
