"""A worker with nothing to do for longer than the broker remembers who it was: a week, unless it is told otherwise."""

import time
from collections.abc import Mapping

import pytest

from schemas.topics import EDITS
from tests.integration.kit import Stream

IDLE_S = 12.0

pytestmark = [pytest.mark.long, pytest.mark.integration]


@pytest.fixture
def broker_properties() -> Mapping[str, int]:
    return {
        "transactional.id.expiration.ms": 3_000,
        "transaction.remove.expired.transaction.cleanup.interval.ms": 1_000,
        "producer.id.expiration.ms": 2_000,
        "producer.id.expiration.check.interval.ms": 500,
    }


def test_a_worker_that_the_broker_has_forgotten_starts_anew(own: Stream) -> None:
    own.produce_captions(["a dog"] * 20)
    worker = own.start("tests.integration.probe")
    own.settle("edits", "captions")
    time.sleep(IDLE_S)

    own.produce_captions(["a dog"] * 20, start=20)
    own.settle("edits", "captions")
    assert own.counters("edits").passed == 40
    assert own.recount(EDITS).counters == own.counters("edits")
    assert "InvalidProducerIdMapping" in worker.log
    assert "ERROR" not in worker.log
    assert worker.stop() == 0
