"""The stage of `qa`."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from common.models.protocols import Description, DifferenceDescriber, DifferenceRequest
from common.pictures import aligned
from common.runtime.stage import Emit, Reject, Task
from schemas.ids import seed_of
from schemas.images import NewImage
from schemas.qa import DifferenceQa
from schemas.record import MAX_TEXT_LENGTH
from schemas.region_captions import RegionCaption
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


class QaStage:
    """Asks what differs in the marked region, and makes the reply the answer to a question."""

    def __init__(self, settings: QaSettings, describer: DifferenceDescriber) -> None:
        self.models: Sequence[ModelId] = (describer.identity,)
        self._settings = settings
        self._describer = describer

    def process(self, batch: Sequence[Task[RegionCaption]]) -> list[Emit[DifferenceQa] | Reject]:
        """One question and answer for each region, or why there is none."""
        if not batch:
            return []
        exhibits = [self._exhibit(task) for task in batch]
        requests = [_request(task.record, exhibit) for task, exhibit in zip(batch, exhibits, strict=True)]
        replies = self._describer.describe_differences(requests)
        return [
            self._outcome(task.record, exhibit, request.seed, reply)
            for task, exhibit, request, reply in zip(batch, exhibits, requests, replies, strict=True)
        ]

    def _exhibit(self, task: Task[RegionCaption]) -> _Exhibit:
        box = task.record.box.grown(self._settings.box_padding)
        first = task.pictures["first"].image
        second = aligned(first, task.pictures["second"].image)
        marked_first, marked_second = (marked(picture, box, self._settings.line_width) for picture in (first, second))
        return _Exhibit(
            marked_first, marked_second, side_by_side(marked_first, marked_second, self._settings.bar_width)
        )

    def _outcome(
        self, region: RegionCaption, exhibit: _Exhibit, seed: int, reply: Description
    ) -> Emit[DifferenceQa] | Reject:
        answer = " ".join(reply.text.split())
        if not answer:
            return Reject(QaReason.EMPTY_ANSWER)
        if len(answer) > MAX_TEXT_LENGTH:
            return Reject(QaReason.ANSWER_TOO_LONG, detail=answer)
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
        return Emit([sample], images=images, seed=seed, truth=reply.truth)

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
