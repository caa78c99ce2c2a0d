"""A worker with nothing to do for longer than the broker remembers who it was: a week, unless it is told otherwise."""

import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import pytest
from kafka.errors import KafkaError

from ops.broker.local import LocalBroker
from ops.broker.properties import server_properties
from schemas.topics import EDITS
from tests.conftest import JARS, stopped_at_the_end
from tests.integration.kit import Stream, wait_until
from tests.ops.recorder import Recorder

FORGETFUL = {
    "transactional.id.expiration.ms": 3_000,
    "transaction.remove.expired.transaction.cleanup.interval.ms": 1_000,
    "producer.id.expiration.ms": 2_000,
    "producer.id.expiration.check.interval.ms": 500,
}
IDLE_S = 12.0

pytestmark = [pytest.mark.long, pytest.mark.integration]


def forgetful(port: int, controller_port: int) -> str:
    return server_properties(port, controller_port) + "".join(f"{key}={value}\n" for key, value in FORGETFUL.items())


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stream]:
    home = tmp_path / "own"
    with patch("ops.broker.kafka.server_properties", forgetful), stopped_at_the_end(home):
        local = LocalBroker(home, jars=JARS, report=Recorder())
        local.start(port=0)
        servers = local.status().bootstrap_servers
        assert servers is not None
        made = Stream(servers, f"idle-{uuid4().hex[:8]}", tmp_path).create()
        wait_until("the broker takes transactions", lambda: fed(made, 0), 60)
        yield made
        made.end()


def fed(stream: Stream, start: int) -> bool:
    try:
        stream.produce_captions(["a dog"] * 20, start)
    except KafkaError:
        return False
    return True


def test_a_worker_that_the_broker_has_forgotten_starts_anew(own: Stream) -> None:
    worker = own.start("tests.integration.probe")
    own.settle("edits", "captions")
    time.sleep(IDLE_S)

    assert fed(own, 20)
    own.settle("edits", "captions")
    assert own.counters("edits").passed == 40
    assert own.recount(EDITS).counters == own.counters("edits")
    assert "InvalidProducerIdMapping" in worker.log
    assert "ERROR" not in worker.log
    assert worker.stop() == 0
