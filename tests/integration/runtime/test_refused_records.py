"""A record that its topic does not take."""

import re

from kafka.admin import ConfigResource, ConfigResourceType

from common.kafka import Admin
from tests.integration.kit import Stream, metric, wait_until
from tests.integration.runtime.test_producer import JUNK_BYTES, junk

PROBE = "tests.integration.probe"


def limit(stream: Stream, topic: str, size: int) -> None:
    """Set the size of the largest record that a topic takes."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(size)})
    with Admin(stream.settings.kafka) as admin:
        admin._admin.alter_configs([resource])


def test_a_worker_whose_dead_letter_is_not_taken_says_so_and_goes_on_when_it_is(stream: Stream) -> None:
    """Otherwise it is ready, and works for nothing as fast as it can."""
    letters = stream.names.topic("edits.failed")
    limit(stream, letters, 1_000_000)
    stream.produce_captions(["a dog"] * 4)
    stream.produce([junk(stream)])
    worker = stream.start(PROBE, IMGDIFF_RUNTIME__RETRY_FIRST_S="2", IMGDIFF_RUNTIME__RETRY_MAX_S="2")
    wait_until("it is not ready", lambda: "in a row" in worker.http("/readyz")[1])
    said = next(line for line in worker.lines("WARNING") if "in a row" in line)
    size = re.search(
        rf"topic {letters}, partition 1: does not take a record of (\d+) bytes \(`max.message.bytes`", said
    )
    assert size is not None, said
    assert JUNK_BYTES < int(size[1]) < JUNK_BYTES + 1_000

    limit(stream, letters, 5 * 1024 * 1024)
    stream.settle("edits", "captions")
    wait_until("it is ready", lambda: worker.http("/readyz")[0] == 200, 10)
    assert metric(worker.http("/metrics")[1], "imgdiff_transactions_total", result="failed") < 5
    assert stream.counters("edits").failed == {"undecodable": 1}
    assert worker.stop() == 0
