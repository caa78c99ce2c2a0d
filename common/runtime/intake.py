"""The bounded queue between poll thread and stage: records in the order of their log, loading in a pool meanwhile."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from common.metrics import WorkPhase
from common.runtime.execution import error_info
from common.runtime.flight import Failed, Fetched, Loaded
from common.runtime.loading import Loader
from common.runtime.retry import NotWantedError
from common.runtime.shared import Shared
from schemas.dead_letters import DeadLetterKind, PoisonReason


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Records that one thread of the pool loads; a future a record would cost more than the loading."""

    fetched: Sequence[Fetched]
    loaded: Future[list[Loaded | None]]


class Intake:
    """Takes fetched records in, gives loaded batches out. `room` bounds what waits in it."""

    def __init__(self, loader: Loader, shared: Shared, batch_size: int) -> None:
        settings = shared.settings
        self._loader = loader
        self._assignment = shared.assignment
        self._marks = shared.marks
        self._retry = shared.retry
        self._metrics = shared.metrics
        self._health = shared.health
        self._pool = ThreadPoolExecutor(settings.prefetch_threads, thread_name_prefix="prefetch")
        self._chunk_size = max(1, batch_size // settings.prefetch_threads)
        self._capacity = batch_size * settings.prefetch_batches
        self._chunks: deque[_Chunk] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._closed = False

    def room(self) -> int:
        """How many more records may be put."""
        with self._changed:
            return max(0, self._capacity - self._waiting)

    def put(self, fetched: Sequence[Fetched]) -> None:
        """Begin to load these records of one partition, fetched in one epoch."""
        self._marks.fetched(fetched)
        for start in range(0, len(fetched), self._chunk_size):
            part = fetched[start : start + self._chunk_size]
            chunk = _Chunk(part, self._pool.submit(self._load, part))
            with self._changed:
                self._chunks.append(chunk)
                self._waiting += len(part)
                self._changed.notify()

    def take(self, size: int, wait_s: float) -> list[Loaded]:
        """Up to `size` records, waiting `wait_s` for more after the first; empty when closed or nothing came for a while.

        Taking a record up is its begin; one whose ownership ended while it waited is left out.
        """
        batch: list[Loaded] = []
        until = time.monotonic() + 0.1
        while len(batch) < size:
            chunk = self._next(until)
            if chunk is None:
                break
            taken = self._begun(chunk, size - len(batch))
            if taken and not batch:
                until = time.monotonic() + wait_s
            batch.extend(taken)
        return batch

    def close(self) -> None:
        """Wake up whoever waits; nothing is given out any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _next(self, until: float) -> _Chunk | None:
        with self._changed:
            while not self._chunks and not self._closed:
                remaining = until - time.monotonic()
                if remaining <= 0 or not self._changed.wait(remaining):
                    break
            if self._closed or not self._chunks:
                return None
            chunk = self._chunks.popleft()
            self._waiting -= len(chunk.fetched)
        return chunk

    def _begun(self, chunk: _Chunk, size: int) -> list[Loaded]:
        loaded = chunk.loaded.result()
        if len(loaded) > size:
            self._put_back(chunk.fetched[size:], loaded[size:])
        taken = loaded[:size]
        if not self._assignment.begin(*chunk.fetched[0].stamp, len(taken)):
            return []
        return [record for record in taken if record is not None]

    def _put_back(self, fetched: Sequence[Fetched], loaded: list[Loaded | None]) -> None:
        rest: Future[list[Loaded | None]] = Future()
        rest.set_result(loaded)
        with self._changed:
            self._chunks.appendleft(_Chunk(fetched, rest))
            self._waiting += len(fetched)

    def _load(self, chunk: Sequence[Fetched]) -> list[Loaded | None]:
        """None for what is not wanted any more: its ownership has ended, and it will not be begun.

        Raises MemoryError where there is none for a record that has others beside it.
        """
        wanted = partial(self._assignment.wanted, *chunk[0].stamp)
        self._health.busy("prefetch")
        try:
            with self._metrics.phase(WorkPhase.PREFETCH):
                self._retry.run("write crash marks", lambda: self._marks.begin(chunk), wanted)
                return [self._load_one(fetched, wanted) for fetched in chunk]
        except NotWantedError:
            return [None] * len(chunk)
        finally:
            self._marks.loaded()
            self._health.idle("prefetch")

    def _load_one(self, fetched: Fetched, wanted: Callable[[], bool]) -> Loaded:
        self._health.busy("prefetch")
        if (failed := self._marks.condemned(fetched)) is not None:
            return Loaded(fetched, failed)
        try:
            return self._loader.load(fetched, wanted)
        except MemoryError as error:
            if not self._marks.lone_suspect():
                # The process ends, and the next one sees whether the record has room when it has all to itself.
                raise
            return Loaded(fetched, Failed(DeadLetterKind.POISON, PoisonReason.OUT_OF_MEMORY, error=error_info(error)))
