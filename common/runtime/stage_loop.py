"""The stage thread: batches from the intake through the stage, and on to the store pool and the commit thread."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from common.metrics import WorkPhase
from common.runtime.circuit import CircuitOpenError
from common.runtime.execution import Execution, error_info
from common.runtime.faults import Step
from common.runtime.flight import Failed, Fetched, Finished, Loaded, Prepared
from common.runtime.handover import Batch, GivenUp
from common.runtime.intake import Intake
from common.runtime.memory import when_there_is_memory
from common.runtime.retry import NotWantedError
from common.runtime.shared import Shared
from common.runtime.stage import Task
from common.settings import StageSettings
from schemas.dead_letters import DeadLetterKind, PoisonReason

log = logging.getLogger(__name__)


class StageLoop:
    """Where the models run, one batch at a time."""

    def __init__(self, shared: Shared, intake: Intake, execution: Execution, settings: StageSettings) -> None:
        self._shared = shared
        self._intake = intake
        self._execution = execution
        self._settings = settings
        self._pool = ThreadPoolExecutor(shared.settings.store_threads, thread_name_prefix="store")
        self._chunk_size = max(1, settings.batch_size // shared.settings.store_threads)
        self._short_of_memory = threading.Lock()

    def run(self, stopping: threading.Event) -> None:
        """Work until told to stop. Raises DeviceLostError."""
        shared = self._shared
        while not stopping.is_set():
            shared.circuit.wait(stopping)
            with shared.metrics.phase(WorkPhase.WAIT):
                # One record at a time is all there is while a predecessor's crash is looked into.
                wait_s = 0.0 if shared.marks.isolating else self._settings.batch_wait_s
                loaded = self._intake.take(self._settings.batch_size, wait_s)
            if loaded:
                self._work(loaded)

    def _work(self, loaded: Sequence[Loaded]) -> None:
        shared = self._shared
        started = time.perf_counter()
        try:
            with shared.metrics.phase(WorkPhase.STAGE):
                finished = self._execution.run(self._marked(loaded))
        except CircuitOpenError as error:
            shared.circuit.open(error.alike)
            shared.commits.put(GivenUp(len(loaded)))
            return
        finally:
            shared.health.idle("stage")
        shared.metrics.batch(len(loaded), time.perf_counter() - started)
        shared.faults.reached(Step.BEFORE_STORE)
        shared.commits.put(Batch([one.fetched for one in loaded], self._prepare(finished)))

    def _marked(self, loaded: Sequence[Loaded]) -> Sequence[Loaded]:
        """What of these may enter the stage: marked, and not gone elsewhere while the store of marks was away."""
        while tasks := [one.fetched for one in loaded if isinstance(one.content, Task)]:
            try:
                self._shared.retry.run(
                    "write crash marks", lambda: self._shared.marks.enter(tasks), lambda: all(map(self._wanted, tasks))
                )
                break
            except NotWantedError:
                loaded = self._execution.still_wanted(loaded)
        return loaded

    def _prepare(self, finished: Sequence[Finished]) -> list[Future[list[Prepared]]]:
        return [
            self._pool.submit(self._prepare_chunk, finished[start : start + self._chunk_size])
            for start in range(0, len(finished), self._chunk_size)
        ]

    def _prepare_chunk(self, chunk: Sequence[Finished]) -> list[Prepared]:
        """What could be prepared of a chunk: a record that nobody wants any more while the store is away is left out."""
        prepared = []
        for finished in chunk:
            self._shared.health.busy("store")
            try:
                prepared.append(self._prepare_one(finished))
            except NotWantedError:
                self._shared.assignment.let_go(*finished.fetched.stamp)
            finally:
                self._shared.health.idle("store")
        return prepared

    def _prepare_one(self, finished: Finished) -> Prepared:
        """Raises NotWantedError, and MemoryError where there is none for a record that has others beside it: the process then
        ends, and the next one sees whether there is when the record has all to itself."""
        shared, wanted = self._shared, lambda: self._wanted(finished.fetched)
        with suppress(MemoryError):
            return shared.delivery.prepare(finished, wanted)
        # One of those that lack it at a time: they would take it from each other.
        with self._short_of_memory:
            shared.health.busy("store")
            try:
                return when_there_is_memory(
                    shared.retry,
                    "store a record",
                    finished.fetched.record.place,
                    lambda: shared.delivery.prepare(finished, wanted),
                    wanted,
                )
            except MemoryError as error:
                if not shared.marks.lone_suspect():
                    raise
                lacking = Failed(DeadLetterKind.POISON, PoisonReason.OUT_OF_MEMORY, error=error_info(error))
            return shared.delivery.prepare(replace(finished, outcome=lacking), wanted)

    def _wanted(self, fetched: Fetched) -> bool:
        return self._shared.assignment.wanted(*fetched.stamp)
