"""Calling a stage so that one bad record costs one record."""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from common.health import Health
from common.runtime.circuit import WINDOW, Circuit, FailureWindow
from common.runtime.errors import ConfigurationError, DeviceLostError, OutOfMemoryError, translated
from common.runtime.flight import Failed, Finished, Loaded, Outcome
from common.runtime.ownership import Assignment
from common.runtime.retry import NotWantedError, Retry
from common.runtime.stage import Emit, Reject, Stage, Task
from schemas.dead_letters import DeadLetterKind, ErrorInfo, PoisonReason
from schemas.invalid import InvalidRecord

log = logging.getLogger(__name__)

_NOT_THE_RECORDS_FAULT = (ConfigurationError, DeviceLostError)
"""They end the process: a key that an endpoint takes no longer would else make a dead letter of every record."""


class StageContractError(Exception):
    """A stage returned something else than one outcome per input."""


class Execution:
    """Runs batches through a stage: retries what is transient, halves what does not fit into memory, splits what fails
    until the culprit is alone. Remembers the batch size that fitted."""

    def __init__(
        self,
        stage: Stage[Any, Any],
        reasons: type[StrEnum],
        retry: Retry,
        assignment: Assignment,
        *,
        circuit: Circuit,
        health: Health,
        max_attempts: int,
        alone: Callable[[], bool],
    ) -> None:
        """`alone` says whether a record is known to be the only one in this process."""
        self._stage = stage
        self._reasons = reasons
        self._retry = retry
        self._assignment = assignment
        self._circuit = circuit
        self._health = health
        self._window = FailureWindow()
        self._max_attempts = max_attempts
        self._alone = alone
        self.largest_batch: int | None = None

    def run(self, batch: Sequence[Loaded]) -> list[Finished]:
        """The outcomes, in order, but for records whose partition went elsewhere while something was unreachable.

        Raises CircuitOpenError as soon as most of the last records have failed alike, and MemoryError where the host has no
        room for a record that has others beside it: the process then ends, and the next one sees whether there is when the
        record has all to itself.
        """
        self._window = self._circuit.window()
        decided = [loaded for loaded in batch if not isinstance(loaded.content, Task)]
        if not decided:
            return self._split_to_fit(batch)
        finished = [_finish(loaded, _decided(loaded), 1, 0.0) for loaded in decided]
        finished += self._split_to_fit([loaded for loaded in batch if isinstance(loaded.content, Task)])
        order = {id(loaded): position for position, loaded in enumerate(batch)}
        return sorted(finished, key=lambda f: order[id(f.loaded)])

    def _split_to_fit(self, batch: Sequence[Loaded]) -> list[Finished]:
        size = min(self.largest_batch or len(batch), len(batch))
        if size == 0:
            return []
        return [
            finished for start in range(0, len(batch), size) for finished in self._attempt(batch[start : start + size])
        ]

    def _attempt(self, batch: Sequence[Loaded]) -> list[Finished]:
        while batch:
            try:
                return self._retry.run("stage", lambda: self._call(batch), lambda: all(map(self._wanted, batch)))
            except NotWantedError:
                batch = self.still_wanted(batch)
            except _NOT_THE_RECORDS_FAULT:
                raise
            except OutOfMemoryError as error:
                return self._halve(batch, error)
            except Exception as error:
                return self._isolate(batch, error)
        return []

    def _halve(self, batch: Sequence[Loaded], error: Exception) -> list[Finished]:
        if len(batch) == 1:
            if isinstance(error.__cause__, MemoryError) and not self._alone():
                raise error.__cause__
            return [self._failed(batch[0], PoisonReason.OUT_OF_MEMORY, error)]
        self.largest_batch = (len(batch) + 1) // 2
        log.warning("out of memory with %d records, going on with %d: %s", len(batch), self.largest_batch, error)
        return self._split_to_fit(batch)

    def _isolate(self, batch: Sequence[Loaded], error: Exception) -> list[Finished]:
        if len(batch) > 1:
            middle = len(batch) // 2
            log.warning("%s with %d records, splitting the batch: %s", type(error).__name__, len(batch), error)
            return [*self._attempt(batch[:middle]), *self._attempt(batch[middle:])]
        for _ in range(1, self._max_attempts):
            try:
                return self._retry.run("stage", lambda: self._call(batch), lambda: self._wanted(batch[0]))
            except NotWantedError:
                self.still_wanted(batch)
                return []
            except _NOT_THE_RECORDS_FAULT:
                raise
            except OutOfMemoryError as again:
                return self._halve(batch, again)
            except Exception as again:
                error = again
        return [self._failed(batch[0], PoisonReason.EXCEPTION, error)]

    def _failed(self, loaded: Loaded, reason: PoisonReason, error: Exception) -> Finished:
        outcome = Failed(DeadLetterKind.POISON, str(reason), error=error_info(error))
        # Looked at before the batch is split any further: each record of a whole batch would be tried several times.
        self._circuit.check(self._window.add(outcome))
        return _finish(loaded, outcome, 1, 0.0)

    def _wanted(self, loaded: Loaded) -> bool:
        return self._assignment.wanted(*loaded.fetched.stamp)

    def still_wanted(self, batch: Sequence[Loaded]) -> list[Loaded]:
        """Those whose partition stays; the others are given up."""
        wanted = [loaded for loaded in batch if self._wanted(loaded)]
        for loaded in batch:
            if not self._wanted(loaded):
                self._assignment.let_go(*loaded.fetched.stamp)
        return wanted

    def _call(self, batch: Sequence[Loaded]) -> list[Finished]:
        self._health.busy("stage")  # each call has the whole limit
        started = time.perf_counter()
        try:
            outcomes = self._stage.process([loaded.content for loaded in batch if isinstance(loaded.content, Task)])
        except Exception as error:
            _let_go_of_frames(error)
            if (known := translated(error)) is not error:
                raise known from error
            raise
        seconds = time.perf_counter() - started
        if len(outcomes) != len(batch):
            raise StageContractError(f"{len(outcomes)} outcomes for {len(batch)} inputs")
        for outcome in outcomes:
            self._check(outcome)
        for outcome in outcomes[-WINDOW:]:
            self._window.add(outcome)
        return [_finish(loaded, outcome, len(batch), seconds) for loaded, outcome in zip(batch, outcomes, strict=True)]

    def _check(self, outcome: Emit[Any] | Reject) -> None:
        match outcome:
            case Emit(records=records):
                if not records:
                    raise StageContractError("an input passed without a record for the next topic")
            case Reject(reason=reason):
                if not isinstance(reason, self._reasons):
                    raise StageContractError(f"reject reason {reason!r} is not a {self._reasons.__name__}")
            case _:
                raise StageContractError(f"a stage returned {type(outcome).__name__}, expected Emit or Reject")


def _let_go_of_frames(error: BaseException) -> None:
    """Their variables hold the tensors of the call, which would take the room of the smaller batch that comes next."""
    chained: BaseException | None = error
    while chained is not None:
        traceback.clear_frames(chained.__traceback__)
        chained = chained.__context__


def _finish(loaded: Loaded, outcome: Outcome, batch_size: int, seconds: float) -> Finished:
    return Finished(loaded, outcome, batch_size, seconds, time.time())


def _decided(loaded: Loaded) -> Failed:
    """The outcome of what no stage is to see."""
    if isinstance(loaded.content, Failed):
        return loaded.content
    assert isinstance(loaded.content, InvalidRecord)
    return Failed(DeadLetterKind.INVALID, str(loaded.content.reason), loaded.content.detail)


def error_info(error: BaseException) -> ErrorInfo:
    """The root cause: wrappers say little about what went wrong."""
    root, seen = error, {id(error)}
    while root.__cause__ is not None and id(root.__cause__) not in seen:
        root = root.__cause__
        seen.add(id(root))
    return ErrorInfo(
        class_name=f"{type(root).__module__}.{type(root).__qualname__}",
        message=str(root),
        traceback="".join(traceback.format_exception(root)),
    )
