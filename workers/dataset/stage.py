"""The sink's stage: everything passes."""

from collections.abc import Sequence

from common.runtime.stage import Emit, Reject, Task
from schemas.qa import DifferenceQa
from schemas.trail import ModelId


class DatasetStage:
    """Hands each sample on to the delivery, which writes it."""

    models: Sequence[ModelId] = ()

    def process(self, batch: Sequence[Task[DifferenceQa]]) -> Sequence[Emit[DifferenceQa] | Reject]:
        return [Emit([task.record]) for task in batch]
