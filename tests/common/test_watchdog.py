"""A thread that hangs is told of once, with the stacks of all threads."""

import logging
import threading

import pytest

from common.health import Health, Stuck
from common.runtime.watchdog import ThreadWatchdog, TransactionWatchdog, stacks
from common.settings import RuntimeSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.runtime.watchdog.CHECK_S", 0.01)


def hang_in_here(busy: threading.Event, end: threading.Event, health: Health) -> None:
    health.busy("stage")
    busy.set()
    end.wait()


def test_a_thread_that_hangs_is_told_of_once_with_all_stacks(caplog: pytest.LogCaptureFixture) -> None:
    health, busy, end, told = Health(), threading.Event(), threading.Event(), threading.Event()
    health.watch("stage", 0.05)
    found: list[Stuck] = []

    def ended(stuck: Stuck) -> None:
        found.append(stuck)
        told.set()

    hanging = threading.Thread(target=hang_in_here, args=(busy, end, health), name="the-one-that-hangs")
    with caplog.at_level(logging.CRITICAL), ThreadWatchdog(health, RuntimeSettings(), ended):
        hanging.start()
        assert told.wait(30)
    end.set()
    hanging.join()
    assert [stuck.thread for stuck in found] == ["stage"]
    [record] = caplog.records
    assert "thread stage has not moved" in record.getMessage()
    for said in ("--- thread the-one-that-hangs", "hang_in_here", "--- thread MainThread"):
        assert said in str(record.stack_info)


def test_nobody_is_told_of_who_waits_for_what_is_unreachable() -> None:
    health, told = Health(), threading.Event()
    health.watch("stage", 0.01)
    health.busy("stage")
    health.retrying(1, "the store is away")
    with ThreadWatchdog(health, RuntimeSettings(), lambda stuck: told.set()):
        assert not told.wait(0.3)


def test_a_process_that_stood_still_is_not_taken_for_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by a signal for longer than any limit: when it goes on, the watchdog itself was late."""
    monkeypatch.setattr("common.runtime.watchdog.FROZEN_S", -1.0)
    health, told = Health(), threading.Event()
    health.watch("stage", 0.05)
    health.busy("stage")
    with ThreadWatchdog(health, RuntimeSettings(), lambda stuck: told.set()):
        assert not told.wait(0.3)


def test_stacks_are_those_of_every_thread() -> None:
    assert "test_stacks_are_those_of_every_thread" in stacks()


def test_a_transaction_has_its_whole_limit_once_the_broker_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hung while the broker was away, which is no reason to end the process the moment the broker comes back."""
    clock = Clock()
    monkeypatch.setattr("common.runtime.watchdog.time", clock)
    watchdog = TransactionWatchdog(RuntimeSettings(transaction_watchdog_s=30, broker_patience_s=120))
    with watchdog:
        clock.now += 90
        assert watchdog.overdue_s(broker_reachable=False) is None
        clock.now += 1
        assert watchdog.overdue_s(broker_reachable=True) is None
        assert not watchdog.forgotten
        clock.now += 5
        assert watchdog.forgotten
        clock.now += 25
        assert watchdog.overdue_s(broker_reachable=True) == 121
        assert watchdog.broker_was_away
    with watchdog:
        assert not watchdog.broker_was_away
        clock.now += 15
        assert not watchdog.forgotten
        clock.now += 1
        assert watchdog.forgotten
        clock.now += 13
        assert watchdog.overdue_s(broker_reachable=True) is None
        clock.now += 2
        assert watchdog.overdue_s(broker_reachable=True) == 31
        clock.now += 90
        assert watchdog.overdue_s(broker_reachable=False) == 121
