"""The metrics of a worker at work: what the dashboard asks for is there, and the numbers are those that were committed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.metrics import WorkPhase
from tests.integration.kit import Stream, WorkerProcess, metric, wait_until
from tests.ops.grafana.dashboards import targets
from tests.ops.grafana.promql import parse

PROBE = "tests.integration.probe"
TEXTS = ["reject", "a dog", "many 3", "fail", "a cat", "a bird"] * 5


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    """An empty stream with its topics and its store."""
    made = Stream(broker, prefix, tmp_path).create()
    yield made
    made.end()


def page_of(worker: WorkerProcess) -> str:
    status, page = worker.http("/metrics")
    assert status == 200
    return page


def retries(page: str) -> bool:
    """Whether records wait for something that is unreachable."""
    return metric(page, "imgdiff_retries_total", action="stage") > 0 and metric(page, "imgdiff_records_in_flight") > 0


def settled(page: str, partitions: int) -> bool:
    """Whether the page says that nothing is left to do in any partition."""
    lags = [line for line in page.splitlines() if line.startswith("imgdiff_consumer_lag_records{")]
    done = len(lags) == partitions and all(line.endswith(" 0.0") for line in lags)
    return done and metric(page, "imgdiff_records_in_flight") == 0


def test_a_worker_shows_what_it_committed_and_all_that_the_dashboard_asks_for(stream: Stream) -> None:
    gate = stream.folder / "gate"
    stream.produce_captions(TEXTS)
    stream.produce([replace(stream.caption_message("broken", len(TEXTS)), value=b"\xc1 no msgpack")])

    worker = stream.start(PROBE, PROBE_GATE=str(gate))
    wait_until("a retry with records in flight", lambda: retries(page_of(worker)))
    waiting = page_of(worker)
    gate.touch()
    stream.settle("edits", "captions")
    wait_until("no lag on the page", lambda: settled(page_of(worker), stream.partitions))
    page = page_of(worker)

    # An outage shows, and goes by.
    assert metric(waiting, "imgdiff_worker_ready") == 0
    assert metric(waiting, "imgdiff_records_consumed_total") == 0
    assert metric(page, "imgdiff_worker_ready") == 1

    # What is counted is what is committed.
    committed = stream.counters("edits")
    assert committed.consumed == len(TEXTS) + 1
    assert metric(page, "imgdiff_records_consumed_total") == committed.consumed
    assert metric(page, "imgdiff_records_produced_total") == committed.outputs
    outcomes = {
        "passed": committed.passed,
        "rejected": sum(committed.rejected.values()),
        "failed": sum(committed.failed.values()),
    }
    for outcome, count in outcomes.items():
        assert metric(page, "imgdiff_records_total", outcome=outcome) == count > 0
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    for name, reasons in (("imgdiff_rejects_total", committed.rejected), ("imgdiff_failures_total", committed.failed)):
        shown = Counter[str]()
        for sample in samples:
            if sample.name == name:
                shown[sample.labels["reason"]] += int(sample.value)
        assert +shown == Counter(reasons)
    assert metric(page, "imgdiff_failures_total", kind="invalid", reason="undecodable") == 1

    # Each committed record's age, each batch and each transaction is measured once; on a slow day some are done again.
    assert metric(page, "imgdiff_record_age_seconds_count") == committed.consumed
    assert metric(page, "imgdiff_batch_records_sum") >= committed.consumed
    assert metric(page, "imgdiff_batch_records_count") == metric(page, "imgdiff_batch_duration_seconds_count") > 0
    ended = [metric(page, "imgdiff_transactions_total", result=result) for result in ("committed", "failed")]
    assert metric(page, "imgdiff_transaction_duration_seconds_count") == sum(ended)
    assert ended[0] > 0
    assert metric(page, "imgdiff_assigned_partitions") == stream.partitions
    for phase in WorkPhase:
        assert metric(page, "imgdiff_phase_seconds_total", phase=phase.value) > 0, phase

    # No panel of the dashboard stays empty.
    families = list(text_string_to_metric_families(page))
    for target in targets():
        for selector in parse(target.expression).selectors:
            assert selector.finds(families, {"stage": "edits|pairs"}), f"{target} finds nothing"

    assert worker.stop() == 0
