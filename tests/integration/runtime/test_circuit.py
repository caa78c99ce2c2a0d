"""A worker whose model is broken makes no dead letters of a stream, and goes on by itself when it is mended."""

from schemas.topics import EDITS
from tests.integration.kit import Stream, metric, wait_until

PROBE = "tests.integration.probe"


def test_a_broken_model_costs_no_record(stream: Stream) -> None:
    broken = stream.folder / "broken"
    broken.touch()
    stream.produce_captions(["a dog"] * 60 + ["fail"] + ["a cat"] * 3)
    worker = stream.start(PROBE, PROBE_BROKEN=str(broken), IMGDIFF_RUNTIME__CIRCUIT_PAUSE_S="1")

    wait_until("it says so", lambda: "circuit open" in worker.http("/readyz")[1])
    wait_until("it has tried again", lambda: worker.log.count("circuit open") > 1)
    assert "ArithmeticError" in worker.http("/readyz")[1]
    assert worker.http("/livez")[0] == 200
    assert metric(worker.http("/metrics")[1], "imgdiff_circuit_open") == 1
    assert stream.read("edits.failed") == []
    assert stream.counters("edits").consumed == 0

    broken.unlink()
    stream.settle("edits", "captions")
    assert worker.http("/readyz")[0] == 200
    recount = stream.recount(EDITS)
    assert recount.counters == stream.counters("edits")
    assert (recount.counters.passed, recount.counters.failed) == (63, {"exception": 1})
    assert worker.stop() == 0


def test_failures_that_are_accepted_are_dead_letters(stream: Stream) -> None:
    stream.produce_captions(["fail"] * 24)
    worker = stream.start(PROBE, IMGDIFF_RUNTIME__ACCEPT_FAILURES="true")
    stream.settle("edits", "captions")
    assert stream.recount(EDITS).counters.failed == {"exception": 24}
    assert worker.stop() == 0


def test_a_worker_with_an_open_circuit_can_be_stopped(stream: Stream) -> None:
    stream.produce_captions(["fail"] * 24)
    worker = stream.start(PROBE)
    wait_until("it is open", lambda: "circuit open" in worker.log)
    assert worker.stop() == 0
    assert stream.counters("edits").consumed == 0
