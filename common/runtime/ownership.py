"""Which partitions this worker owns, since when, and what it has counted there.

The one thing that all threads share. Every record in flight carries the epoch of its partition's ownership; whatever
ends an ownership (a revoke, a lost membership, a failed transaction) ends its epoch, and with it the right of everything
fetched under it to be committed.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from common.kafka import Partition
from common.runtime.deadline import Deadline
from schemas.counters import OffsetMetadata


class Phase(Enum):
    """`STARTING`: assigned, committed offset not read yet. `ACTIVE`: working. `DRAINING`: finishing what has begun."""

    STARTING = "starting"
    ACTIVE = "active"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is committed, and with what metadata."""

    offset: int
    metadata: OffsetMetadata


@dataclass(slots=True)
class _Ownership:
    epoch: int
    phase: Phase
    progress: Progress
    outstanding: int = 0
    """Records fetched in this epoch and neither committed nor dropped."""
    begun: int = 0
    """Those of them that a stage has begun to work on."""


_NOT_STARTED = Progress(offset=-1, metadata=OffsetMetadata())


class Assignment:
    """The ownerships of one worker. Thread-safe."""

    def __init__(self, drain_budget_s: float) -> None:
        self._drain_budget_s = drain_budget_s
        self._lock = threading.RLock()
        self._owned: dict[Partition, _Ownership] = {}
        self._next_epoch = 1
        self._drain = Deadline.never()

    # The life of an ownership

    def assigned(self, partitions: Collection[Partition]) -> None:
        """The group gave us these partitions; nothing of them may be fetched before `started`."""
        with self._lock:
            for partition in partitions:
                self._owned[partition] = self._new_ownership()

    def starting(self) -> list[Partition]:
        with self._lock:
            return sorted(p for p, o in self._owned.items() if o.phase is Phase.STARTING)

    def start_epoch(self, partition: Partition) -> int | None:
        """The epoch that a start has to be for: read before the committed offset is, given to `started` after."""
        with self._lock:
            owned = self._owned.get(partition)
            return owned.epoch if owned is not None and owned.phase is Phase.STARTING else None

    def started(self, partition: Partition, epoch: int, progress: Progress) -> bool:
        """Committed offset and counters were read under `epoch`. False when the ownership ended meanwhile."""
        with self._lock:
            owned = self._owned.get(partition)
            if owned is None or owned.epoch != epoch or owned.phase is not Phase.STARTING:
                return False
            owned.progress = progress
            owned.phase = Phase.ACTIVE
            return True

    def revoking(self, partitions: Collection[Partition]) -> None:
        """The group takes these away: begin nothing more, finish what has begun within the drain budget."""
        with self._lock:
            self._drain = Deadline(self._drain_budget_s)
            for partition in partitions:
                if (owned := self._owned.get(partition)) is not None:
                    owned.phase = Phase.DRAINING

    def revoke_settled(self, partitions: Collection[Partition]) -> bool:
        """Whether nothing begun is left of these, or the budget is spent; they are then let go."""
        with self._lock:
            busy = any(o.begun > 0 for p in partitions if (o := self._owned.get(p)) is not None)
            if busy and not self._drain.expired:
                return False
            self.lost(partitions)
            return True

    def lost(self, partitions: Collection[Partition]) -> None:
        """These are somebody else's already."""
        with self._lock:
            for partition in partitions:
                self._owned.pop(partition, None)

    def let_go(self, partition: Partition, epoch: int) -> None:
        """Work on a record was given up while something was unreachable; a partition that drains then waits no longer.

        What else has begun of it is dropped with it: no offset may pass the record.
        """
        with self._lock:
            owned = self._current(partition, epoch)
            if owned is not None and owned.phase is Phase.DRAINING:
                del self._owned[partition]

    def end(self, stamps: Collection[tuple[Partition, int]]) -> None:
        """These ownerships are over, and only these: an owner since then keeps what it has."""
        with self._lock:
            for partition, epoch in stamps:
                if self._current(partition, epoch) is not None:
                    del self._owned[partition]

    def lose_all(self) -> None:
        """The membership is gone."""
        with self._lock:
            self._owned.clear()

    def restart_all(self) -> None:
        """Nothing in memory may be trusted any more: all epochs end, and every partition starts anew."""
        with self._lock:
            for partition in self._owned:
                self._owned[partition] = self._new_ownership()

    def drain_all(self) -> None:
        """Shutting down: begin nothing more."""
        with self._lock:
            for owned in self._owned.values():
                owned.phase = Phase.DRAINING

    # The way of a record

    def fetched(self, partition: Partition, count: int) -> int | None:
        """The epoch to stamp `count` fetched records with; None when they are to be thrown away."""
        with self._lock:
            owned = self._owned.get(partition)
            if owned is None or owned.phase is not Phase.ACTIVE:
                return None
            owned.outstanding += count
            return owned.epoch

    def wanted(self, partition: Partition, epoch: int) -> bool:
        """Whether work on a record may begin or wait: its ownership stands and is not being taken away."""
        with self._lock:
            owned = self._owned.get(partition)
            return owned is not None and owned.epoch == epoch and owned.phase is Phase.ACTIVE

    def begin(self, partition: Partition, epoch: int, count: int) -> bool:
        """A stage takes `count` records up. False when they are not wanted any more; they are then settled."""
        with self._lock:
            if self.wanted(partition, epoch):
                self._owned[partition].begun += count
                return True
            if (owned := self._current(partition, epoch)) is not None:
                owned.outstanding -= count
            return False

    def may_commit(self, partition: Partition, epoch: int) -> bool:
        """Whether the outcome of a record may be committed: its ownership still stands."""
        with self._lock:
            return self._current(partition, epoch) is not None

    def progress(self, partition: Partition, epoch: int) -> Progress | None:
        """What is committed of a partition, or None when the ownership has ended."""
        with self._lock:
            owned = self._current(partition, epoch)
            return None if owned is None else owned.progress

    def committed(self, partition: Partition, epoch: int, progress: Progress) -> None:
        """A transaction has moved the offset."""
        with self._lock:
            if (owned := self._current(partition, epoch)) is not None:
                owned.progress = progress

    def settle(self, partition: Partition, epoch: int, count: int) -> None:
        """`count` records that had begun were committed, or dropped."""
        with self._lock:
            if (owned := self._current(partition, epoch)) is not None:
                owned.begun -= count
                owned.outstanding -= count

    # What the threads ask

    def quiet(self) -> list[tuple[Partition, int, int]]:
        """Active partitions with nothing in flight, with epoch and committed offset."""
        with self._lock:
            return [
                (p, o.epoch, o.progress.offset)
                for p, o in self._owned.items()
                if o.phase is Phase.ACTIVE and o.outstanding == 0
            ]

    def busy(self) -> bool:
        """Whether anything that a stage has begun is not committed yet."""
        with self._lock:
            return any(o.begun > 0 for o in self._owned.values())

    def active(self) -> list[Partition]:
        with self._lock:
            return [p for p, o in self._owned.items() if o.phase is Phase.ACTIVE]

    def partitions(self) -> set[Partition]:
        """All that is owned, in whatever phase."""
        with self._lock:
            return set(self._owned)

    def kept(self) -> set[Partition]:
        """All that is owned and not being taken away."""
        with self._lock:
            return {p for p, o in self._owned.items() if o.phase is not Phase.DRAINING}

    def committed_offsets(self) -> dict[Partition, int]:
        """The committed offset of every partition that has started."""
        with self._lock:
            return {p: o.progress.offset for p, o in self._owned.items() if o.phase is not Phase.STARTING}

    def ready(self) -> bool:
        """Whether every partition that we own has started (a member without partitions is ready too)."""
        with self._lock:
            return all(o.phase is Phase.ACTIVE for o in self._owned.values())

    def outstanding(self) -> int:
        """Records fetched and neither committed nor dropped."""
        with self._lock:
            return sum(o.outstanding for o in self._owned.values())

    def _current(self, partition: Partition, epoch: int) -> _Ownership | None:
        owned = self._owned.get(partition)
        return owned if owned is not None and owned.epoch == epoch and owned.phase is not Phase.STARTING else None

    def _new_ownership(self) -> _Ownership:
        epoch = self._next_epoch
        self._next_epoch += 1
        return _Ownership(epoch=epoch, phase=Phase.STARTING, progress=_NOT_STARTED)
