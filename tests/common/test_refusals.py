"""What only looks like a refusal: nobody there, nobody who answers, somebody who hangs up."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common.kafka import greet, greeting
from common.runtime.errors import BrokerUnreachableError
from common.settings import KafkaSettings


@contextmanager
def listener(*, hangs_up: bool) -> Iterator[str]:
    """A port on which somebody takes connections and says nothing, or closes them at once as a proxy does without a broker
    behind it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                taken.close()

        if hangs_up:
            threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.kafka.greeting.GREETING_TIMEOUT_S", 0.5)
    monkeypatch.setattr("common.kafka.greeting.GREETING_PAUSE_S", 0.01)


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_broker_that_is_on_its_way_is_no_wrong_setting(protocol: str, hangs_up: bool) -> None:
    """A worker waits for it, where a wrong setting would end it for good."""
    with listener(hangs_up=hangs_up) as server, pytest.raises(BrokerUnreachableError, match="does not answer"):
        greet(KafkaSettings(bootstrap_servers=server, security_protocol=protocol))


def test_who_says_nothing_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    once = greeting._refusal
    monkeypatch.setattr(greeting, "_refusal", lambda settings, server: asked.append(server) or once(settings, server))
    with listener(hangs_up=False) as server, pytest.raises(BrokerUnreachableError):
        greet(KafkaSettings(bootstrap_servers=server))
    assert asked == [server]


def test_nobody_there_is_told_by_the_address() -> None:
    with pytest.raises(BrokerUnreachableError, match=r"no Kafka broker listens at 127\.0\.0\.1:1 "):
        greet(KafkaSettings(bootstrap_servers="127.0.0.1:1"))


def test_a_name_that_nobody_knows_is_told_and_waited_for() -> None:
    """That of a container is unknown while the container is down."""
    with pytest.raises(BrokerUnreachableError, match=r"`kafka\.bootstrap_servers`\): name not known: no\.invalid$"):
        greet(KafkaSettings(bootstrap_servers="no.invalid:9092,127.0.0.1:1"))


def test_a_label_that_no_name_can_have_is_not_known() -> None:
    with pytest.raises(BrokerUnreachableError, match=r"name not known: a\.\.b$"):
        greet(KafkaSettings(bootstrap_servers="a..b:9092"))


def test_a_server_that_says_nothing_does_not_hide_one_that_answers(broker: str) -> None:
    with listener(hangs_up=False) as silent:
        greet(KafkaSettings(bootstrap_servers=f"{silent}, {broker}"))
