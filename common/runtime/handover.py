"""What the stage thread, and the poll thread when idle, hand over to the commit thread."""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from common.kafka import Partition
from common.runtime.flight import Fetched, Prepared


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch behind its stage: what began, in order, and what is being prepared of it.

    Records that nobody wanted any more while something was unreachable began but are not prepared.
    """

    began: Sequence[Fetched]
    prepared: Sequence[Future[list[Prepared]]]
    since: float = field(default_factory=time.time)
    """When the first of it may have been stored, in seconds since 1970: what is stored ages by the clock of its place."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A batch that the stage thread has given up: everything owned starts again from what is committed."""

    records: int


@dataclass(frozen=True, slots=True)
class IdleCommit:
    """Nothing is in flight, and the position has passed transaction markers."""

    partition: Partition
    epoch: int
    position: int


class CommitQueue:
    """What waits to be committed, in order. A batch waits for room; an idle commit is only worth it when there is."""

    def __init__(self) -> None:
        # One waits, one commits, one computes: more would only be dropped at a rebalance.
        self._queue: queue.Queue[Batch | GivenUp | IdleCommit] = queue.Queue(1)
        self._settled = threading.Event()

    def put(self, batch: Batch | GivenUp) -> None:
        self._queue.put(batch)

    def offer(self, commit: IdleCommit) -> None:
        if self.settled:
            try:
                self._queue.put_nowait(commit)
            except queue.Full:
                return

    def get(self, timeout_s: float) -> Batch | GivenUp | IdleCommit | None:
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def settled(self) -> bool:
        """Whether no transaction of ours is in doubt, so that the committed offsets are the truth."""
        return self._settled.is_set()

    @settled.setter
    def settled(self, value: bool) -> None:
        if value:
            self._settled.set()
        else:
            self._settled.clear()
