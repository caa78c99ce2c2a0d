"""The names and labels of the metrics, and that they count what happened."""

import re
import time

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from common.metrics import RebalanceEvent, TransactionResult, WorkerMetrics, WorkPhase
from schemas.dead_letters import PoisonReason
from schemas.invalid import InvalidReason

CLOSED_LABELS = {"stage", "version", "profile", "outcome", "reason", "kind", "phase", "result", "event", "action"}
"""Labels whose values are few and fixed. Every combination of values is a time series of its own for ever."""


@pytest.fixture
def metrics() -> WorkerMetrics:
    """Those of a worker to which everything has happened."""
    made = WorkerMetrics("boxes", "1.2.3", "sketch")
    made.declare_reasons(["overlaps", "no_segments"])
    made.readiness(lambda: True)
    made.passed(5, 8)
    made.rejected("overlaps", 3)
    made.failed("poison", "exception", 2)
    made.dropped(4)
    made.batch(16, 0.5)
    made.age(3.0)
    made.in_flight(7)
    made.lag({0: 10, 3: 20})
    made.transaction(TransactionResult.COMMITTED, 0.1)
    made.transaction(TransactionResult.SKIPPED)
    made.rebalance(RebalanceEvent.REVOKED)
    made.retried("fetch images")
    return made


def page(metrics: WorkerMetrics) -> list[Metric]:
    return list(text_string_to_metric_families(generate_latest(metrics.registry).decode()))


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"stage": "boxes", **labels})


def test_names_have_the_prefix_and_say_their_unit(metrics: WorkerMetrics) -> None:
    for family in page(metrics):
        assert re.fullmatch(r"imgdiff(_[a-z]+)+", family.name), family.name
        assert not re.search(r"_(ms|millis|milliseconds|minutes|hours|kb|mb|percent)\b", family.name)
        assert family.documentation.endswith("."), f"{family.name} has no help"
        assert family.samples, f"{family.name} is not in the fixture"


def test_counters_and_nothing_else_end_in_total(metrics: WorkerMetrics) -> None:
    for family in page(metrics):
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
        assert family.type in {"counter", "gauge", "histogram"}
    assert "_created" not in generate_latest(metrics.registry).decode()


def test_labels_have_few_values(metrics: WorkerMetrics) -> None:
    for family in page(metrics):
        for sample in family.samples:
            unbounded = set(sample.labels) - CLOSED_LABELS - {"le"}
            # As many as the topic has, and those of other owners disappear.
            assert unbounded == ({"partition"} if family.name == "imgdiff_consumer_lag_records" else set())
            assert sample.labels["stage"] == "boxes"


def test_every_input_counts_under_one_outcome(metrics: WorkerMetrics) -> None:
    assert value(metrics, "imgdiff_records_consumed_total") == 5 + 3 + 2
    assert value(metrics, "imgdiff_records_total", outcome="passed") == 5
    assert value(metrics, "imgdiff_records_total", outcome="rejected") == 3
    assert value(metrics, "imgdiff_records_total", outcome="failed") == 2
    assert value(metrics, "imgdiff_records_produced_total") == 8
    assert value(metrics, "imgdiff_rejects_total", reason="overlaps") == 3
    assert value(metrics, "imgdiff_failures_total", kind="poison", reason="exception") == 2


def test_what_has_not_happened_yet_stands_at_0() -> None:
    """The first increase of a counter that was not there before is one that Prometheus does not see."""
    metrics = WorkerMetrics("boxes", "1.2.3", "sketch")
    metrics.declare_reasons(["no_segments"])
    assert value(metrics, "imgdiff_rejects_total", reason="no_segments") == 0
    for kind, reasons in (("invalid", InvalidReason), ("poison", PoisonReason)):
        for reason in reasons:
            assert value(metrics, "imgdiff_failures_total", kind=kind, reason=reason.value) == 0
    for outcome in ("passed", "rejected", "failed"):
        assert value(metrics, "imgdiff_records_total", outcome=outcome) == 0
    for phase in WorkPhase:
        assert value(metrics, "imgdiff_phase_seconds_total", phase=phase.value) == 0
    for result in TransactionResult:
        assert value(metrics, "imgdiff_transactions_total", result=result.value) == 0
    for event in RebalanceEvent:
        assert value(metrics, "imgdiff_rebalances_total", event=event.value) == 0


def test_only_owned_partitions_have_a_lag(metrics: WorkerMetrics) -> None:
    assert value(metrics, "imgdiff_consumer_lag_records", partition="3") == 20
    assert value(metrics, "imgdiff_assigned_partitions") == 2
    metrics.lag({1: 5})
    assert value(metrics, "imgdiff_consumer_lag_records", partition="1") == 5
    assert value(metrics, "imgdiff_consumer_lag_records", partition="3") is None
    assert value(metrics, "imgdiff_assigned_partitions") == 1


def test_a_phase_takes_the_time_of_its_block_whether_it_fails_or_not() -> None:
    metrics = WorkerMetrics("boxes", "1.2.3", "sketch")

    def work() -> None:
        with metrics.phase(WorkPhase.STAGE):
            time.sleep(0.02)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    seconds = value(metrics, "imgdiff_phase_seconds_total", phase="stage")
    assert seconds is not None
    assert seconds >= 0.02
    assert value(metrics, "imgdiff_phase_seconds_total", phase="commit") == 0


def test_an_age_is_never_negative() -> None:
    metrics = WorkerMetrics("boxes", "1.2.3", "sketch")
    metrics.age(-5.0)  # the clock of who sent the record is ahead
    assert value(metrics, "imgdiff_record_age_seconds_sum") == 0
    assert value(metrics, "imgdiff_record_age_seconds_count") == 1


def test_readiness_is_asked_for_at_every_scrape() -> None:
    metrics = WorkerMetrics("boxes", "1.2.3", "sketch")
    answers = iter([False, True])
    assert value(metrics, "imgdiff_worker_ready") == 0
    metrics.readiness(lambda: next(answers))
    assert value(metrics, "imgdiff_worker_ready") == 0
    assert value(metrics, "imgdiff_worker_ready") == 1


def test_workers_of_one_process_share_nothing() -> None:
    first, second = (WorkerMetrics("boxes", "1.2.3", "sketch") for _ in range(2))
    first.passed(1, 1)
    assert value(second, "imgdiff_records_consumed_total") == 0
    started = value(second, "imgdiff_worker_start_time_seconds")
    assert started is not None
    assert abs(started - time.time()) < 60
