"""What the probes are answered, and that they are always answered."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry, Counter

from common.health import Health, HealthServer
from common.runtime.errors import ConfigurationError
from common.settings import HttpSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("common.health.time", clock)
    return clock


@pytest.fixture
def ready() -> Health:
    health = Health()
    health.resumed("start")
    return health


@contextmanager
def serving(health: Health, settings: HttpSettings | None = None) -> Iterator[HealthServer]:
    registry = CollectorRegistry()
    Counter("example", "Counts.", registry=registry).inc(3)
    with HealthServer(settings or HttpSettings(), health, registry) as server:
        yield server


def get(server: HealthServer, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_worker_is_not_ready_before_it_has_started() -> None:
    health = Health()
    assert health.unready() == ["starting"]
    health.resumed("start")
    assert health.unready() == []


def test_every_reason_counts_until_it_is_gone(ready: Health) -> None:
    ready.waiting("partitions", "imgdiff.captions/3 can not start")
    ready.waiting("drain", "draining")
    ready.retrying(1, "fetch images: time-out")
    ready.retrying(2, "store images: 503")
    assert ready.unready() == [
        "imgdiff.captions/3 can not start",
        "draining",
        "fetch images: time-out",
        "store images: 503",
    ]
    ready.recovered(1)
    ready.resumed("drain")
    assert ready.unready() == ["imgdiff.captions/3 can not start", "store images: 503"]
    ready.recovered(2)
    ready.resumed("partitions")
    assert ready.unready() == []


def test_a_cause_has_one_reason_at_a_time(ready: Health) -> None:
    ready.waiting("producer", "no broker")
    ready.waiting("producer", "refused")
    assert ready.unready() == ["refused"]
    ready.resumed("producer")
    ready.resumed("producer")
    ready.recovered(7)
    assert ready.unready() == []


def test_a_thread_is_stuck_once_one_piece_of_work_takes_longer_than_its_limit(clock: Clock) -> None:
    health = Health()
    health.watch("stage", 60)
    health.watch("commit", 10)
    health.busy("stage")
    clock.now += 60
    assert health.stuck() is None
    clock.now += 1
    assert str(health.stuck()) == "thread stage has not moved for 61 s (limit 60 s)"
    health.idle("stage")
    assert health.stuck() is None


def test_waiting_for_work_is_no_sign_of_trouble(clock: Clock) -> None:
    health = Health()
    health.watch("stage", 60)
    clock.now += 3_600
    assert health.stuck() is None
    health.busy("stage")
    health.idle("stage")
    clock.now += 3_600
    assert health.stuck() is None


def test_each_piece_of_work_has_the_whole_limit(clock: Clock) -> None:
    health = Health()
    health.watch("stage", 60)
    for _ in range(3):
        health.busy("stage")
        clock.now += 50
    assert health.stuck() is None


def test_the_pages_say_how_the_worker_is(clock: Clock) -> None:
    health = Health()
    health.watch("poll", 30)
    with serving(health) as server:
        assert get(server, "/livez") == (200, "ok\n")
        assert get(server, "/readyz") == (503, "starting\n")
        health.retrying(1, "fetch images: Zeitüberschreitung")
        assert get(server, "/readyz") == (503, "starting\nfetch images: Zeitüberschreitung\n")
        health.resumed("start")
        health.recovered(1)
        assert get(server, "/readyz") == (200, "ok\n")
        health.busy("poll")
        clock.now += 31
        assert get(server, "/livez") == (503, "thread poll has not moved for 31 s (limit 30 s)\n")
        assert get(server, "/readyz") == (200, "ok\n")


def test_metrics_are_served_and_other_paths_are_not(ready: Health) -> None:
    with serving(ready) as server:
        status, page = get(server, "/metrics")
        assert status == 200
        assert "example_total 3.0" in page
        assert get(server, "/") == (404, "/metrics, /livez or /readyz\n")


def test_who_connects_and_says_nothing_keeps_nobody_waiting(ready: Health) -> None:
    with serving(ready) as server, socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/livez") == (200, "ok\n")


def test_the_port_is_free_again_afterwards(ready: Health) -> None:
    with serving(ready) as server:
        assert get(server, "/livez")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        get(server, "/livez")
    with serving(ready, HttpSettings(port=server.port)) as again:
        assert again.port == server.port
        assert get(again, "/livez")[0] == 200


def test_a_port_that_is_taken_is_a_setting_that_is_wrong(ready: Health) -> None:
    with serving(ready) as server:
        taken = HttpSettings(port=server.port)
        with pytest.raises(
            ConfigurationError,
            match=f"^setting `http.port`: 127.0.0.1:{server.port} can not be listened on: Address already in use$",
        ):
            HealthServer(taken, ready, CollectorRegistry())


def test_an_address_that_is_not_ours_is_a_setting_that_is_wrong(ready: Health) -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:0 can not be listened on: "):
        HealthServer(HttpSettings(host="192.0.2.1"), ready, CollectorRegistry())


def test_nobody_is_stuck_while_something_unreachable_is_waited_for(clock: Clock, ready: Health) -> None:
    ready.watch("commit", 150)
    ready.busy("commit")
    ready.retrying(7, "store images: connection refused")
    clock.now += 1_000
    assert ready.stuck() is None
    ready.recovered(7)
    assert ready.stuck() is None
    clock.now += 151
    assert "commit" in str(ready.stuck())


def test_each_thread_of_a_pool_has_a_limit_of_its_own(clock: Clock, ready: Health) -> None:
    ready.watch("store", 60)
    hanging = threading.Thread(target=ready.busy, args=("store",))
    hanging.start()
    hanging.join()
    clock.now += 40
    ready.busy("store")
    ready.idle("store")
    clock.now += 21
    assert "store" in str(ready.stuck())


def test_a_process_that_stood_still_as_a_whole_has_the_whole_limit_again(clock: Clock, ready: Health) -> None:
    ready.watch("poll", 30)
    ready.busy("poll")
    clock.now += 1_000
    ready.start_over()
    assert ready.stuck() is None
    clock.now += 31
    assert "poll" in str(ready.stuck())
