"""An outage is waited out: nothing is dead-lettered, nothing lost, and readiness says why."""

import shutil
import socket
import time

import pytest

from schemas.topics import EDITS
from tests.integration.kit import Stream, wait_until

PROBE = "tests.integration.probe"


def test_an_endpoint_that_is_away_is_waited_for(stream: Stream) -> None:
    gate = stream.folder / "gate"
    stream.produce_captions(["a dog"] * 40)
    worker = stream.start(PROBE, PROBE_GATE=str(gate))
    wait_until("it says so", lambda: worker.http("/readyz")[0] == 503 and "away" in worker.http("/readyz")[1])
    assert worker.http("/livez")[0] == 200
    time.sleep(1)
    assert stream.counters("edits").consumed == 0

    gate.touch()
    stream.settle("edits", "captions")

    assert stream.recount(EDITS).counters.passed == 40
    wait_until("ready again", lambda: worker.http("/readyz")[0] == 200)
    assert worker.stop() == 0


def test_a_revoke_ends_the_wait(stream: Stream) -> None:
    gate = stream.folder / "gate"
    # One batch holds records of partitions that stay and of partitions that go.
    stream.produce_captions(["a dog"] * 40)
    waiting = stream.start(PROBE, PROBE_GATE=str(gate), IMGDIFF_EDITS__BATCH_SIZE="40")
    wait_until("it waits", lambda: "away" in waiting.http("/readyz")[1])

    healthy = stream.start(PROBE)
    # The healthy one gets its share at once, not after the drain budget of the waiting one.
    wait_until("the healthy one works", lambda: stream.counters("edits").consumed > 0, 10)
    assert waiting.stop() == 0
    stream.settle("edits", "captions")

    assert stream.recount(EDITS).counters.passed == 40
    assert healthy.stop() == 0


def test_a_model_that_is_not_there_yet_is_waited_for_at_the_start(stream: Stream) -> None:
    gate = stream.folder / "gate"
    stream.produce_captions(["a dog"] * 10)
    worker = stream.start(PROBE, PROBE_BUILD_GATE=str(gate))
    wait_until("it says so", lambda: "not there yet" in worker.http("/readyz")[1])
    gate.touch()
    stream.settle("edits", "captions")
    assert worker.stop() == 0


def test_a_worker_that_waits_at_its_start_can_be_stopped(stream: Stream) -> None:
    without_model = stream.start(PROBE, PROBE_BUILD_GATE=str(stream.folder / "never"))
    without_broker = stream.start(PROBE, IMGDIFF_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    wait_until("one waits for its model", lambda: "not there yet" in without_model.log)
    wait_until("one waits for the broker", lambda: "waiting for the broker" in without_broker.log)
    assert without_model.stop() == 0
    assert without_broker.stop() == 0


def test_a_worker_without_its_store_does_not_start(stream: Stream) -> None:
    shutil.rmtree(stream.folder / "blobs")
    worker = stream.start(PROBE)
    assert worker.wait() == 78
    assert "blobs.url" in worker.log
    assert "Traceback" not in worker.log


def test_a_worker_without_its_topics_does_not_start(stream: Stream) -> None:
    worker = stream.start(PROBE, IMGDIFF_PREFIX=f"{stream.prefix}-nowhere")
    assert worker.wait() == 78
    assert "imgdiff topics create" in worker.log
    assert "Traceback" not in worker.log


def test_out_of_memory_halves_the_batch(stream: Stream) -> None:
    stream.produce_captions(["oom"] * 40)
    worker = stream.start(PROBE)
    stream.settle("edits", "captions")
    assert stream.recount(EDITS).counters.passed == 40
    assert "going on with 4" in worker.log
    assert worker.stop() == 0


def test_a_broker_that_is_away_is_waited_for_and_then_given_up(stream: Stream) -> None:
    patience = {"IMGDIFF_RUNTIME__BROKER_PATIENCE_S": "3"}
    worker = stream.start(PROBE, IMGDIFF_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1", **patience)
    assert worker.wait(40) == 1
    assert "waiting for the broker" in worker.log
    assert "kafka.bootstrap_servers" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.long
def test_somebody_who_says_nothing_at_the_brokers_address_is_waited_for_and_then_given_up(stream: Stream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        settings = {"IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": address, "IMGDIFF_RUNTIME__BROKER_PATIENCE_S": "3"}
        worker = stream.start(PROBE, **settings)
        assert worker.wait(90) == 1
    assert "kafka.bootstrap_servers" in worker.log
    assert "Traceback" not in worker.log
