"""The circuit: when most of the last records fail alike, it is not the records.

A model that was loaded wrong, an endpoint that answers nonsense, a bug of a new version: each would make a dead letter of
every record. *Alike* means: with the same class of error, or for want of one the same reason. Where 16 of the last 20
records fail alike the circuit opens: what is at work is not committed, the worker is not ready, and says why. After a pause
it tries one batch of the same records, and closes unless again four fifths of them, or 16 of 20 in a row, fail alike.
Fewer than four that all fail alike decide nothing: the first record behind the pause may fail by itself, and with batches of
one would keep the circuit open for ever. They become dead letters, the circuit stays open, and the next batches are judged
with them. So a model that is still broken costs three records at most.
Records that are invalid by themselves do not count, on either side: junk in the topic says nothing about the worker.

One record that fails among others is none of this: it is split out and dead-lettered.
"""

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from common.health import Health
from common.metrics import WorkerMetrics
from common.runtime.flight import Failed, Outcome
from common.settings import RuntimeSettings
from schemas.dead_letters import DeadLetterKind, PoisonReason

log = logging.getLogger(__name__)

WINDOW = 20
SHARE = 0.8
MOST = math.ceil(WINDOW * SHARE)
TRIAL = 4
"""How many records have to be counted behind a pause before they can be too many that fail alike."""

CAUSE = "circuit"


@dataclass(frozen=True, slots=True)
class Alike:
    """How many of the last records failed with the same error."""

    error: str
    failed: int
    of: int

    def __str__(self) -> str:
        return f"{self.failed} of the last {self.of} records failed with {self.error}"


class CircuitOpenError(Exception):
    """Most of the last records fail alike; the batch is given up."""

    def __init__(self, alike: Alike) -> None:
        super().__init__(str(alike))
        self.alike = alike


class FailureWindow:
    """What became of the last records: their errors, None for those that did not fail."""

    def __init__(self, last: Iterable[str | None] = ()) -> None:
        self._last = deque(last, WINDOW)

    def copy(self) -> "FailureWindow":
        return FailureWindow(self._last)

    def add(self, outcome: Outcome) -> Alike | None:
        """Count an outcome. What most of the last records have in common, where it is a failure."""
        if not isinstance(outcome, Failed):
            self._last.append(None)
            return None
        if outcome.kind is DeadLetterKind.INVALID or outcome.reason == PoisonReason.CRASH:
            return None
        error = outcome.error.class_name if outcome.error is not None else outcome.reason
        self._last.append(error)
        failed = self._last.count(error)
        return Alike(error, failed, len(self._last)) if failed >= MOST else None

    def verdict(self) -> Alike | None:
        """The same for what was counted, however few they are."""
        if not self._last:
            return None
        [(error, failed)] = Counter(self._last).most_common(1)
        if error is None or failed < SHARE * len(self._last):
            return None
        return Alike(error, failed, len(self._last))

    @property
    def empty(self) -> bool:
        return not self._last


class Circuit:
    """The circuit of one worker. Thread-safe."""

    def __init__(self, settings: RuntimeSettings, health: Health, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._lock = threading.Lock()
        self._window = FailureWindow()
        self._open = False
        self._again_at = 0.0

    def window(self) -> FailureWindow:
        """A copy of what was counted so far, to go on counting in while a batch is split."""
        with self._lock:
            return self._window.copy()

    def check(self, alike: Alike | None) -> None:
        """Raises CircuitOpenError where most records fail alike and nobody has accepted that."""
        if alike is not None and not self._settings.accept_failures:
            raise CircuitOpenError(alike)

    def admit(self, outcomes: Iterable[Outcome]) -> None:
        """Count the outcomes of a batch that is about to commit; those of one that may not are not kept. Raises
        CircuitOpenError."""
        with self._lock:
            window = self._window.copy()
            for outcome in outcomes:
                self.check(window.add(outcome))
            if self._open:
                alike = window.verdict()
                if alike is not None and alike.of >= TRIAL:
                    self.check(alike)
                if time.monotonic() < self._again_at:
                    return  # begun before the circuit opened: it says nothing about what is tried after the pause
                if alike is None and not window.empty:
                    self._close()
            self._window = window

    def open(self, alike: Alike) -> None:
        """Begin a pause."""
        pause_s = self._settings.circuit_pause_s
        why = (
            f"circuit open: {alike}; trying again every {pause_s:.0f} s (runtime.accept_failures=true goes on, with a dead "
            "letter for each)"
        )
        log.error("%s", why)
        self._health.waiting(CAUSE, why)
        self._metrics.circuit_open(True)
        with self._lock:
            if not self._open:
                # What comes next is judged by itself.
                self._window = FailureWindow()
            self._open = True
            self._again_at = time.monotonic() + pause_s

    def wait(self, stopping: threading.Event) -> None:
        """Wait until the pause is over, or `stopping` is set."""
        with self._lock:
            remaining = self._again_at - time.monotonic()
        if remaining > 0:
            stopping.wait(remaining)

    def _close(self) -> None:
        log.info("circuit closed: records pass again")
        self._open = False
        self._health.resumed(CAUSE)
        self._metrics.circuit_open(False)
