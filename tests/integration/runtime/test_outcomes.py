"""Every input has exactly one complete outcome, and the counters say so."""

from schemas.topics import EDITS
from tests.integration.kit import Stream, metric

PROBE = "tests.integration.probe"


def test_every_input_has_one_outcome_and_counters_agree(stream: Stream) -> None:
    texts = ["reject", "a dog", "many 3", "fail", "fail once"] * 8 + ["a cat"] * 40
    stream.produce_captions(texts)
    worker = stream.start(PROBE)

    stream.settle("edits", "captions")

    recount = stream.recount(EDITS)
    assert recount.inputs == 80
    assert recount.counters == stream.counters("edits")
    assert recount.counters.model_dump() == {
        "consumed": 80,
        "passed": 64,
        "outputs": 80,
        "rejected": {"asked_for": 8},
        "failed": {"exception": 8},
    }
    page = worker.http("/metrics")[1]
    assert metric(page, "imgdiff_records_consumed_total") == 80
    assert metric(page, "imgdiff_records_total", outcome="passed") == 64
    assert metric(page, "imgdiff_rejects_total", reason="asked_for") == 8
    assert metric(page, "imgdiff_failures_total", kind="poison", reason="exception") == 8
    assert worker.stop() == 0
