"""What is stored of a batch, behind the stage."""

from collections.abc import Callable
from typing import Any

import pytest

from common.health import Health
from common.kafka import ConsumedRecord, Partition
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit
from common.runtime.faults import Faults
from common.runtime.flight import Failed, Fetched, Finished, Loaded, Prepared
from common.runtime.handover import CommitQueue
from common.runtime.ownership import Assignment
from common.runtime.retry import Retry
from common.runtime.shared import Shared
from common.runtime.stage import Emit, Task
from common.runtime.stage_loop import StageLoop
from common.runtime.watchdog import TransactionWatchdog
from common.settings import RuntimeSettings, StageSettings
from schemas.captions import Caption
from schemas.edits import Edit

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


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.runtime.stage_loop.ROOM_PAUSE_S", 0.0)


def prepared_with(delivery: Any) -> Prepared:
    """What the store pool makes of a record that passed."""
    settings, health, metrics = RuntimeSettings(max_attempts=3), Health(), WorkerMetrics("edits", "0", "test")
    unused: Any = None
    shared = Shared(
        settings,
        Assignment(5),
        CommitQueue(),
        delivery,
        Retry(settings, health, metrics),
        Faults([]),
        health,
        metrics,
        TransactionWatchdog(settings),
        unused,
        Circuit(settings, health, metrics),
    )
    loop = StageLoop(shared, unused, unused, StageSettings())
    fetched = Fetched(ConsumedRecord(Partition("captions", 0), 0, None, b"", (), 0.0), 1)
    outcome = Emit([CAPTION.derive(Edit, 0, edited_caption="a cat")])
    (future,) = loop._prepare([Finished(Loaded(fetched, Task(CAPTION)), outcome, 1, 0.0, 0.0)])
    (prepared,) = future.result(10)
    return prepared


def test_what_found_no_memory_is_tried_again() -> None:
    """The host was full of other things."""
    assert isinstance(prepared_with(Full(tries=2)).outcome, Emit)


def test_what_never_finds_memory_is_a_dead_letter_after_all_tries() -> None:
    host = Full(tries=100)
    outcome = prepared_with(host).outcome
    assert isinstance(outcome, Failed)
    assert outcome.reason == "out_of_memory"
    assert outcome.error is not None
    assert outcome.error.class_name == "builtins.MemoryError"
    assert host.tried == 3
