"""Waiting out what is unreachable: exponential backoff with full jitter, for as long as the work is wanted."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, wait_random_exponential

from common.health import Health
from common.metrics import WorkerMetrics
from common.runtime.errors import TransientError
from common.settings import RuntimeSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

CHECK_S = 0.05
"""How soon a wait notices that its work is not wanted any more."""


class NotWantedError(Exception):
    """The partition was revoked, or the worker is stopping, while something was unreachable."""


class Retry:
    """Runs an action again while it raises TransientError. An outage is never dead-lettered."""

    def __init__(self, settings: RuntimeSettings, health: Health, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._jitter = wait_random_exponential(multiplier=settings.retry_first_s, max=settings.retry_max_s)

    def run(self, what: str, action: Callable[[], T], wanted: Callable[[], bool]) -> T:
        """The action's result. Raises NotWantedError when `wanted` turns false while waiting."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=self._wait_s,
            stop=lambda _: not wanted(),
            sleep=lambda seconds: _sleep(seconds, wanted),
            before_sleep=lambda state: self._failed(what, state),
        )
        try:
            return retrying(action)
        except RetryError as error:
            raise NotWantedError(what) from error
        finally:
            self._health.recovered(threading.get_ident())

    def _wait_s(self, state: RetryCallState) -> float:
        """On top of what the other side asks for: whoever it told the same would all be back at the same moment."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, TransientError) else 0.0
        return min(asked + self._jitter(state), self._settings.retry_max_s)

    def _failed(self, what: str, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._health.retrying(threading.get_ident(), f"{what}: {error}")
        self._metrics.retried(what)
        log.warning(
            "%s failed (attempt %d), trying again in up to %.1f s: %s",
            what,
            state.attempt_number,
            state.upcoming_sleep,
            error,
        )


def _sleep(seconds: float, wanted: Callable[[], bool]) -> None:
    pause = threading.Event()
    while seconds > 0 and wanted():
        pause.wait(min(CHECK_S, seconds))
        seconds -= CHECK_S
