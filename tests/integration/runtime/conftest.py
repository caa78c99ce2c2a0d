"""A stream per test, whose processes end with it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import pytest
from kafka.errors import KafkaTimeoutError

from common.kafka import TransactionalProducer
from ops.broker.local import LocalBroker
from ops.broker.properties import server_properties
from tests.conftest import JARS, stopped_at_the_end
from tests.integration.kit import Stream, wait_until
from tests.ops.recorder import Recorder


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    """An empty stream with its topics and its store."""
    made = Stream(broker, prefix, tmp_path).create()
    yield made
    made.end()


@pytest.fixture
def broker_properties() -> Mapping[str, int]:
    """What the test's own broker is told beside what every local one is."""
    return {}


@pytest.fixture
def local(tmp_path: Path, broker_properties: Mapping[str, int]) -> Iterator[LocalBroker]:
    """A broker of this test's own, which runs."""

    def properties(port: int, controller_port: int) -> str:
        told = "".join(f"{key}={value}\n" for key, value in broker_properties.items())
        return server_properties(port, controller_port) + told

    home = tmp_path / "own"
    with patch("ops.broker.kafka.server_properties", properties), stopped_at_the_end(home):
        local = LocalBroker(home, jars=JARS, report=Recorder())
        local.start(port=0)
        yield local


@pytest.fixture
def own(local: LocalBroker, tmp_path: Path) -> Iterator[Stream]:
    """An empty stream on the test's own broker."""
    servers = local.status().bootstrap_servers
    assert servers is not None
    made = Stream(servers, f"own-{uuid4().hex[:8]}", tmp_path).create()
    wait_until("the broker takes transactions", lambda: takes_transactions(made), 120)
    yield made
    made.end()


def takes_transactions(stream: Stream) -> bool:
    """One that has just come up keeps its first producer waiting."""
    try:
        TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.first", 10).close()
    except KafkaTimeoutError:
        return False
    return True
