"""Whatever hangs ends the process, with the stacks of all threads in its log; the restart asks the group for the truth.

Every thread has a limit for one piece of work (`Health.watch`). Transaction calls are looked at by themselves: they have no
time-out of their own, and may take as long as the broker is away. The http thread needs no watch: probes that are not
answered say so themselves.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

from common.health import Health, Stuck
from common.runtime.exits import ExitCode
from common.settings import RuntimeSettings

log = logging.getLogger(__name__)

CHECK_S = 1.0

SUSPICIOUS_S = 5.0
"""A transaction takes milliseconds: for one that takes this long it is worth a look whether the broker is there."""

ANSWER_S = 5.0
"""How long a broker that is back may take to answer a transaction that has outlasted its absence."""

FROZEN_S = 10.0
"""So late the watchdog itself is only when the whole process stood still: stopped by a signal, or without a CPU."""

END_S = 60.0
"""How long the main thread may take to end the process before the watchdog does."""

GIL_MARGIN_S = 60.0
"""Beyond the stage's limit: a call that never gives up Python's lock keeps the watchdog from running, too. The interpreter's
own timer, which needs no lock, then ends the process."""


class ThreadStuckError(Exception):
    """A thread is over its limit."""


def stacks() -> str:
    """Where every thread is, as Python prints it."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"--- thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for ident, frame in sys._current_frames().items()
    )


def log_stacks(why: str) -> None:
    """One record with the stacks of all threads, on lines of their own."""
    log.handle(
        log.makeRecord(log.name, logging.CRITICAL, __file__, 0, "%s; all threads:", (why,), None, sinfo=stacks())
    )


class ThreadWatchdog:
    """Looks after all threads while its block runs. `end` is told, once, of one that is stuck, and has to end the process."""

    def __init__(self, health: Health, settings: RuntimeSettings, end: Callable[[Stuck], None]) -> None:
        self._health = health
        self._last_resort_s = settings.stage_timeout_s + GIL_MARGIN_S
        self._end = end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        seen = time.monotonic()
        while not self._over.wait(CHECK_S):
            faulthandler.dump_traceback_later(self._last_resort_s, exit=True)
            before, seen = seen, time.monotonic()
            if seen - before > FROZEN_S:
                self._health.start_over()
            elif (stuck := self._health.stuck()) is not None:
                log_stacks(str(stuck))
                self._end(stuck)
                break
        if not self._over.wait(END_S):
            os._exit(ExitCode.OTHER)


class TransactionWatchdog:
    """Knows since when a transaction has been running."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._since: float | None = None
        self._away_at = 0.0
        self.broker_was_away = False
        """Whether the broker could not be reached at some time during the last transaction."""

    def __enter__(self) -> None:
        self.broker_was_away = False
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def overdue_s(self, broker_reachable: bool) -> float | None:
        """How long the transaction has been running, when that is longer than it may; else None.

        While nobody listens where the broker should be, it may take as long as the broker may be away; once somebody does
        again, it has the whole limit to end in.
        """
        since = self._since
        if since is None:
            return None
        now = time.monotonic()
        if not broker_reachable:
            self._away_at = now
            self.broker_was_away = True
            return now - since if now - since > self._settings.broker_patience_s else None
        return now - since if now - max(since, self._away_at) > self._settings.transaction_watchdog_s else None

    @property
    def forgotten(self) -> bool:
        """Whether a call has waited for so long for a broker that is there that it will never be answered: the client may
        lose a request with the connection that it was sent on, and the broker has aborted the transaction by then."""
        since = self._since
        if since is None:
            return False
        limit = ANSWER_S if self.broker_was_away else self._settings.transaction_timeout_s
        return time.monotonic() - max(since, self._away_at) > limit

    @property
    def suspicious(self) -> bool:
        """Whether it is worth asking if the broker can be reached."""
        since = self._since
        return since is not None and time.monotonic() - since > min(SUSPICIOUS_S, self._settings.transaction_watchdog_s)
