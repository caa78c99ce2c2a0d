"""The stage of `qa`."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from common.models.protocols import Description, DifferenceDescriber, DifferenceRequest, NaturalnessJudge
from common.pictures import pair_of
from common.runtime.stage import Emit, Reject, Task
from schemas.ids import seed_of
from schemas.images import NewImage
from schemas.qa import DifferenceQa
from schemas.record import MAX_TEXT_LENGTH
from schemas.region_captions import RegionCaption
from schemas.scores import Scores
from schemas.trail import ModelId
from workers.qa.marking import marked, side_by_side
from workers.qa.reasons import QaReason
from workers.qa.settings import QaSettings


@dataclass(frozen=True, slots=True)
class _Exhibit:
    """Both pictures with the region in a red box, in the size of the first."""

    first: Image.Image
    second: Image.Image
    composite: Image.Image


@dataclass(frozen=True, slots=True)
class _Judged:
    """One input, with what was said about its pair; nothing where no pair is checked."""

    task: Task[RegionCaption]
    scores: Scores

    @property
    def natural(self) -> bool:
        return all(score.passes for score in self.scores.values())


class QaStage:
    """Asks what differs in the marked region, and makes the reply the answer to a question."""

    def __init__(
        self, settings: QaSettings, describer: DifferenceDescriber, judge: NaturalnessJudge | None = None
    ) -> None:
        """Without a judge no pair is checked."""
        self.models: Sequence[ModelId] = (describer.identity, *([] if judge is None else [judge.identity]))
        self._settings = settings
        self._describer = describer
        self._judge = judge

    def process(self, batch: Sequence[Task[RegionCaption]]) -> list[Emit[DifferenceQa] | Reject]:
        """One question and answer for each region, or why there is none."""
        judged = self._judged(batch)
        answered = iter(self._answered([each for each in judged if each.natural]))
        return [next(answered) if each.natural else Reject(QaReason.UNNATURAL, each.scores) for each in judged]

    def _judged(self, batch: Sequence[Task[RegionCaption]]) -> list[_Judged]:
        """Regions of one pair ask once: about the pair as it was drawn, without red boxes."""
        if self._judge is None or not batch:
            return [_Judged(task, {}) for task in batch]
        pairs = {task.record.digests: task for task in batch}
        composites = [side_by_side(*pair_of(task.pictures), self._settings.bar_width) for task in pairs.values()]
        shares = dict(zip(pairs, self._judge.judge(composites), strict=True))
        return [
            _Judged(task, {"naturalness": self._settings.naturalness.measure(shares[task.record.digests])})
            for task in batch
        ]

    def _answered(self, judged: Sequence[_Judged]) -> list[Emit[DifferenceQa] | Reject]:
        if not judged:
            return []
        exhibits = [self._exhibit(each.task) for each in judged]
        requests = [_request(each.task.record, exhibit) for each, exhibit in zip(judged, exhibits, strict=True)]
        replies = self._describer.describe_differences(requests)
        return [
            self._outcome(each, exhibit, request.seed, reply)
            for each, exhibit, request, reply in zip(judged, exhibits, requests, replies, strict=True)
        ]

    def _exhibit(self, task: Task[RegionCaption]) -> _Exhibit:
        box = task.record.box.grown(self._settings.box_padding)
        marked_first, marked_second = (
            marked(picture, box, self._settings.line_width) for picture in pair_of(task.pictures)
        )
        return _Exhibit(
            marked_first, marked_second, side_by_side(marked_first, marked_second, self._settings.bar_width)
        )

    def _outcome(
        self, judged: _Judged, exhibit: _Exhibit, seed: int, reply: Description
    ) -> Emit[DifferenceQa] | Reject:
        region = judged.task.record
        answer = " ".join(reply.text.split())
        if not answer:
            return Reject(QaReason.EMPTY_ANSWER, judged.scores)
        if len(answer) > MAX_TEXT_LENGTH:
            return Reject(QaReason.ANSWER_TOO_LONG, judged.scores, detail=answer)
        sample = region.derive(
            DifferenceQa,
            0,
            difference=answer,
            question=self._question(region),
            answer=answer,
            first_marked=NewImage.named("first_marked"),
            second_marked=NewImage.named("second_marked"),
        )
        images = {"first_marked": exhibit.first, "second_marked": exhibit.second}
        return Emit([sample], images=images, scores=judged.scores, seed=seed, truth=reply.truth)

    def _question(self, region: RegionCaption) -> str:
        questions = self._settings.questions
        return questions[seed_of(region.id, "question") % len(questions)]


def _request(region: RegionCaption, exhibit: _Exhibit) -> DifferenceRequest:
    return DifferenceRequest(
        first=exhibit.first,
        second=exhibit.second,
        composite=exhibit.composite,
        first_description=region.first_description,
        second_description=region.second_description,
        seed=seed_of(region.id, "difference"),
    )
