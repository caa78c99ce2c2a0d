"""A record on its way through the worker, in the three states in which it passes from thread to thread."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.kafka import ConsumedRecord, Message, Partition
from common.runtime.stage import Emit, Reject, Task
from schemas.counters import Counters
from schemas.dead_letters import DeadLetterKind, ErrorInfo
from schemas.invalid import InvalidRecord

Stamp = tuple[Partition, int]
"""One ownership: a partition, and the epoch in which this worker owns it."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """As it came from the log, stamped with the epoch of its partition's ownership."""

    record: ConsumedRecord
    epoch: int

    @property
    def partition(self) -> Partition:
        return self.record.partition

    @property
    def stamp(self) -> Stamp:
        return self.record.partition, self.epoch


@dataclass(frozen=True, slots=True)
class Failed:
    """The input could not be worked on; `reason` is a member of InvalidReason or PoisonReason."""

    kind: DeadLetterKind
    reason: str
    detail: str = ""
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Decoded with its pictures, found to be no record at all, or not to be tried any more."""

    fetched: Fetched
    content: Task[Any] | InvalidRecord | Failed


Outcome = Emit[Any] | Reject | Failed


@dataclass(frozen=True, slots=True)
class Finished:
    """With its outcome. `batch_size` and `seconds` are those of the call of the stage that decided it."""

    loaded: Loaded
    outcome: Outcome
    batch_size: int
    seconds: float
    finished_at: float

    @property
    def fetched(self) -> Fetched:
        return self.loaded.fetched


@dataclass(frozen=True, slots=True)
class Prepared:
    """Ready to commit: what to send, and the outcome as it is counted (a record may still have failed on the way)."""

    finished: Finished
    outcome: Outcome
    messages: Sequence[Message]

    @property
    def fetched(self) -> Fetched:
        return self.finished.fetched


@dataclass(slots=True)
class Tally:
    """Counts outcomes of one partition within a batch."""

    consumed: int = 0
    passed: int = 0
    outputs: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.consumed += 1
        match outcome:
            case Emit():
                self.passed += 1
                self.outputs += len(outcome.records)
            case Reject():
                self.rejected[str(outcome.reason)] += 1
            case Failed():
                self.failed[outcome.reason] += 1

    def counters(self) -> Counters:
        return Counters(
            consumed=self.consumed,
            passed=self.passed,
            outputs=self.outputs,
            rejected=dict(self.rejected),
            failed=dict(self.failed),
        )
