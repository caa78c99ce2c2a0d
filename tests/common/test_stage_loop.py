"""What is stored of a batch, behind the stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from common.kafka import ConsumedRecord, Partition
from common.runtime.flight import Failed, Fetched, Finished, Loaded, Prepared
from common.runtime.memory import MEMORY_TRIES
from common.runtime.ownership import Assignment, Progress
from common.runtime.stage import Emit, Task
from common.runtime.stage_loop import StageLoop
from common.settings import RuntimeSettings, StageSettings
from schemas.captions import Caption
from schemas.counters import OffsetMetadata
from schemas.edits import Edit
from tests.common.parts import shared_parts

CAPTION = Caption(id="c", caption_id="c", caption="a dog", source="s", position=0)


class Full:
    """A host with room for what is stored only after so many tries; a dead letter always fits."""

    def __init__(self, tries: int) -> None:
        self._left = tries
        self.tried = 0

    def prepare(self, finished: Finished, wanted: Callable[[], bool]) -> Prepared:
        if isinstance(finished.outcome, Emit):
            self.tried += 1
            if self._left > 0:
                self._left -= 1
                raise MemoryError
        return Prepared(finished, finished.outcome, [])


@dataclass
class Marks:
    """Of a process that has one record at a time, or of one like any other."""

    isolating: bool

    def lone_suspect(self) -> bool:
        return self.isolating


def prepared_with(delivery: Any, *, isolating: bool = False) -> Prepared:
    """What the store pool makes of a record that passed."""
    unused: Any = None
    partition, assignment = Partition("captions", 0), Assignment(5)
    assignment.assigned([partition])
    epoch = assignment.start_epoch(partition) or 0
    assert assignment.started(partition, epoch, Progress(0, OffsetMetadata()))
    settings = RuntimeSettings(retry_first_s=0.001, retry_max_s=0.001)
    shared = shared_parts(settings, assignment, delivery=delivery, marks=Marks(isolating))
    loop = StageLoop(shared, unused, unused, StageSettings())
    fetched = Fetched(ConsumedRecord(partition, 0, None, b"", (), 0.0), epoch)
    outcome = Emit([CAPTION.derive(Edit, 0, edited_caption="a cat")])
    (future,) = loop._prepare([Finished(Loaded(fetched, Task(CAPTION)), outcome, 1, 0.0, 0.0)])
    (prepared,) = future.result(10)
    return prepared


def test_what_found_no_memory_is_tried_again() -> None:
    """The host was full of other things."""
    assert isinstance(prepared_with(Full(tries=MEMORY_TRIES - 1)).outcome, Emit)


def test_what_never_finds_memory_among_others_is_held_against_nobody() -> None:
    """The process ends, and the next one sees whether there is some for the record when it has all to itself."""
    with pytest.raises(MemoryError):
        prepared_with(Full(tries=100))


def test_what_never_finds_memory_alone_is_a_dead_letter_after_all_tries() -> None:
    host = Full(tries=100)
    outcome = prepared_with(host, isolating=True).outcome
    assert isinstance(outcome, Failed)
    assert outcome.reason == "out_of_memory"
    assert outcome.error is not None
    assert outcome.error.class_name == "builtins.MemoryError"
    assert host.tried == 1 + MEMORY_TRIES, "once beside others"
