"""The stage of `pairs`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from PIL import Image

from common.models.protocols import DrawnPair, PairGenerator, PairRequest
from common.runtime.stage import Emit, Reject, Task
from schemas.edits import Edit
from schemas.ids import seed_of
from schemas.images import NewImage
from schemas.pairs import Pair
from schemas.scores import Scores
from schemas.trail import Candidate, ModelId
from workers.pairs.reasons import PairsReason
from workers.pairs.settings import PairsSettings


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The `index`-th pair drawn for an edit."""

    index: int
    seed: int
    drawn: DrawnPair
    scores: Scores

    @property
    def good(self) -> bool:
        return self.scores["grey_levels"].passes


class PairsStage:
    """Draws pairs for each caption pair and passes on those that show something."""

    def __init__(self, settings: PairsSettings, generator: PairGenerator) -> None:
        self.models: Sequence[ModelId] = (generator.identity,)
        self._settings = settings
        self._generator = generator

    def process(self, batch: Sequence[Task[Edit]]) -> list[Emit[Pair] | Reject]:
        """Between one and `pairs_per_edit` pairs for each edit, or why there is none.

        Raises ValueError where the generator breaks its promise of two pictures of equal size.
        """
        if not batch:
            return []
        requests = [
            PairRequest(task.record.caption, task.record.edited_caption, seed_of(task.record.id, f"pair-{i}"))
            for task in batch
            for i in range(self._settings.pairs_per_edit)
        ]
        drawn = iter(list(zip(requests, self._generator.draw(requests), strict=True)))
        return [
            _outcome(task.record, [self._weigh(i, *next(drawn)) for i in range(self._settings.pairs_per_edit)])
            for task in batch
        ]

    def _weigh(self, index: int, request: PairRequest, drawn: DrawnPair) -> _Weighed:
        if drawn.first.size != drawn.second.size:
            raise ValueError(f"pictures of {drawn.first.size} and {drawn.second.size} pixels, expected equal sizes")
        levels = min(_grey_levels(drawn.first), _grey_levels(drawn.second))
        return _Weighed(index, request.seed, drawn, {"grey_levels": self._settings.grey_levels.measure(levels)})


def _outcome(edit: Edit, weighed: Sequence[_Weighed]) -> Emit[Pair] | Reject:
    good = [pair for pair in weighed if pair.good]
    dropped = [
        Candidate(label=f"pair-{pair.index}", reason=PairsReason.BLANK_IMAGE, scores=pair.scores)
        for pair in weighed
        if not pair.good
    ]
    if not good:
        return Reject(PairsReason.BLANK_IMAGE, weighed[0].scores, dropped=dropped[1:])
    images: dict[str, Image.Image] = {}
    records: list[Pair] = []
    for pair in good:
        first, second = f"first-{pair.index}", f"second-{pair.index}"
        images |= {first: pair.drawn.first, second: pair.drawn.second}
        records.append(edit.derive(Pair, pair.index, first=NewImage.named(first), second=NewImage.named(second)))
    return Emit(
        records=records,
        images=images,
        dropped=dropped,
        record_scores=[pair.scores for pair in good],
        record_seeds=[pair.seed for pair in good],
        record_truth=[pair.drawn.truth for pair in good],
    )


def _grey_levels(image: Image.Image) -> int:
    channels = cast(tuple[tuple[int, int], ...], image.getextrema())
    return max(high - low for low, high in channels)
