"""Waiting out what is unreachable: how long, and for what."""

import time
from collections.abc import Callable

import pytest

from common.health import Health
from common.metrics import WorkerMetrics
from common.runtime.errors import TransientError
from common.runtime.retry import NotWantedError, Retry
from common.settings import RuntimeSettings


def retry(**settings: float) -> Retry:
    given = {"retry_first_s": 0.001, "retry_max_s": 10.0, **settings}
    return Retry(RuntimeSettings.model_validate(given), Health(), WorkerMetrics("edits", "0", "test"))


def failing(*errors: Exception) -> Callable[[], str]:
    """Raises one after the other, and is done."""
    left = list(errors)

    def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return action


def seconds(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def test_who_says_when_to_come_back_is_not_asked_before() -> None:
    busy = failing(TransientError("429", retry_after_s=0.4))
    assert 0.4 <= seconds(lambda: retry().run("stage", busy, lambda: True)) < 5


def test_who_does_not_say_is_asked_again_after_the_usual_wait() -> None:
    away = failing(TransientError("429", retry_after_s=0.0), TransientError("refused"))
    assert seconds(lambda: retry().run("stage", away, lambda: True)) < 0.4


@pytest.mark.parametrize("silly", [3_600.0, 1e300])
def test_no_wait_is_longer_than_the_setting_allows_whoever_asks_for_it(silly: float) -> None:
    busy = failing(TransientError("429", retry_after_s=silly))
    assert 0.2 <= seconds(lambda: retry(retry_max_s=0.2).run("stage", busy, lambda: True)) < 5


def test_a_wait_that_was_asked_for_ends_when_nobody_wants_the_work() -> None:
    begun = time.monotonic()
    busy = failing(*[TransientError("429", retry_after_s=9.0)] * 2)
    with pytest.raises(NotWantedError):
        retry().run("stage", busy, lambda: time.monotonic() < begun + 0.2)
    assert time.monotonic() - begun < 5
