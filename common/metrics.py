"""Every metric of a worker, defined once. Prefix `imgdiff_`, base units, closed label sets: no ids, no texts."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.invalid import InvalidReason

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
AGES = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400, 604_800)


class WorkPhase(StrEnum):
    """Where a worker's threads spend their seconds."""

    POLL = "poll"
    """The poll thread asking for records, whether there are any or not."""
    PREFETCH = "prefetch"
    """The prefetch threads decoding records and fetching their pictures."""
    STAGE = "stage"
    """The stage thread in the stage, that is in the models."""
    STORE = "store"
    """The commit thread waiting for pictures to be stored."""
    COMMIT = "commit"
    """The commit thread in a transaction."""
    WAIT = "wait"
    """The stage thread waiting for records: the worker is faster than what feeds it."""


class TransactionResult(StrEnum):
    """How a transaction ended. `failed` includes those whose outcome only the committed offsets know."""

    COMMITTED = "committed"
    """It took effect."""
    FAILED = "failed"
    """The worker began anew from what is committed; nothing is lost, work is repeated."""
    SKIPPED = "skipped"
    """Not begun: the membership or the ownership of everything in it was gone."""


class RebalanceEvent(StrEnum):
    """What a rebalance did to this worker."""

    ASSIGNED = "assigned"
    """It was given partitions."""
    REVOKED = "revoked"
    """It had to give partitions away, and could finish what it had begun."""
    LOST = "lost"
    """The group took it for dead: what it had begun was dropped."""


class WorkerMetrics:
    """The metrics of one worker process, in a registry of their own."""

    def __init__(self, stage: str, version: str, profile: str) -> None:
        # `imgdiff_records_created` would read as a number of records, and is the time of a counter's birth.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._stage = stage
        registry = self.registry

        Gauge(
            "imgdiff_build_info",
            "The version and profile that run, always 1.",
            ["stage", "version", "profile"],
            registry=registry,
        ).labels(stage, version, profile).set(1)
        Gauge(
            "imgdiff_worker_start_time_seconds", "When this worker process started, in seconds since the epoch.",
            ["stage"], registry=registry,
        ).labels(stage).set(time.time())  # fmt: skip
        self._ready = Gauge(
            "imgdiff_worker_ready", "1 while this worker can work: models loaded, group joined, nothing retried.",
            ["stage"], registry=registry,
        ).labels(stage)  # fmt: skip
        self._consumed = Counter(
            "imgdiff_records_consumed_total", "Inputs whose outcome was committed.", ["stage"], registry=registry
        ).labels(stage)
        self._outcomes = Counter(
            "imgdiff_records_total", "Inputs by committed outcome: passed, rejected or failed.",
            ["stage", "outcome"], registry=registry,
        )  # fmt: skip
        self._outputs = Counter(
            "imgdiff_records_produced_total", "Records written to the next topic.", ["stage"], registry=registry
        ).labels(stage)
        self._rejects = Counter(
            "imgdiff_rejects_total", "Inputs that quality control rejected, by reason.",
            ["stage", "reason"], registry=registry,
        )  # fmt: skip
        self._failures = Counter(
            "imgdiff_failures_total", "Inputs that could not be worked on, by kind and reason.",
            ["stage", "kind", "reason"], registry=registry,
        )  # fmt: skip
        for kind, reasons in ((DeadLetterKind.INVALID, InvalidReason), (DeadLetterKind.POISON, PoisonReason)):
            for reason in reasons:
                # Prometheus sees no increase in a counter that is born at 1, and a failure may well be the only one.
                self._failures.labels(stage, kind.value, reason.value)
        self._dropped = Counter(
            "imgdiff_records_dropped_total", "Records fetched or worked on in vain: their partition went elsewhere.",
            ["stage"], registry=registry,
        ).labels(stage)  # fmt: skip
        self._batch_size = Histogram(
            "imgdiff_batch_records", "Records per batch.", ["stage"], buckets=BATCH_SIZES, registry=registry
        ).labels(stage)
        self._batch_seconds = Histogram(
            "imgdiff_batch_duration_seconds", "Time in the stage per batch.",
            ["stage"], buckets=DURATIONS, registry=registry,
        ).labels(stage)  # fmt: skip
        self._phases = Counter(
            "imgdiff_phase_seconds_total", "Seconds that the worker's threads spent, by phase.",
            ["stage", "phase"], registry=registry,
        )  # fmt: skip
        self._phase_children = {phase: self._phases.labels(stage, phase.value) for phase in WorkPhase}
        self._age = Histogram(
            "imgdiff_record_age_seconds", "Age of an input when its outcome commits: now minus its timestamp.",
            ["stage"], buckets=AGES, registry=registry,
        ).labels(stage)  # fmt: skip
        self._in_flight = Gauge(
            "imgdiff_records_in_flight", "Records fetched and neither committed nor dropped.",
            ["stage"], registry=registry,
        ).labels(stage)  # fmt: skip
        self._lag = Gauge(
            "imgdiff_consumer_lag_records",
            "Records between the committed offset and the last stable offset, by owned partition.",
            ["stage", "partition"], registry=registry,
        )  # fmt: skip
        self._transactions = Counter(
            "imgdiff_transactions_total", "Transactions by result.", ["stage", "result"], registry=registry
        )
        self._transaction_children = {r: self._transactions.labels(stage, r.value) for r in TransactionResult}
        self._transaction_seconds = Histogram(
            "imgdiff_transaction_duration_seconds", "Time from begin to commit of a transaction.",
            ["stage"], buckets=DURATIONS, registry=registry,
        ).labels(stage)  # fmt: skip
        self._rebalances = Counter(
            "imgdiff_rebalances_total", "Rebalances that changed this worker's partitions.",
            ["stage", "event"], registry=registry,
        )  # fmt: skip
        self._rebalance_children = {e: self._rebalances.labels(stage, e.value) for e in RebalanceEvent}
        self._retries = Counter(
            "imgdiff_retries_total", "Retries of what was unreachable or had no memory, by what was tried.",
            ["stage", "action"], registry=registry,
        )  # fmt: skip
        self._circuit = Gauge(
            "imgdiff_circuit_open", "1 while the circuit is open because most of the last records failed alike.",
            ["stage"], registry=registry,
        ).labels(stage)  # fmt: skip
        self._partitions = Gauge(
            "imgdiff_assigned_partitions", "Partitions that this worker owns.", ["stage"], registry=registry
        ).labels(stage)
        self._outcome_children = {
            outcome: self._outcomes.labels(stage, outcome) for outcome in ("passed", "rejected", "failed")
        }

    def readiness(self, ready: Callable[[], bool]) -> None:
        """Where to ask, at every scrape, whether the worker is ready."""
        self._ready.set_function(ready)

    @contextmanager
    def phase(self, phase: WorkPhase) -> Iterator[None]:
        """Count the seconds of a block as this phase."""
        started = perf_counter()
        try:
            yield
        finally:
            self._phase_children[phase].inc(perf_counter() - started)

    def declare_reasons(self, reasons: Iterable[str]) -> None:
        """Show every reject reason from the start, at 0: a reason that never fired is information too."""
        for reason in reasons:
            self._rejects.labels(self._stage, reason)

    def passed(self, inputs: int, outputs: int) -> None:
        self._consumed.inc(inputs)
        self._outcome_children["passed"].inc(inputs)
        self._outputs.inc(outputs)

    def rejected(self, reason: str, inputs: int) -> None:
        self._consumed.inc(inputs)
        self._outcome_children["rejected"].inc(inputs)
        self._rejects.labels(self._stage, reason).inc(inputs)

    def failed(self, kind: str, reason: str, inputs: int) -> None:
        self._consumed.inc(inputs)
        self._outcome_children["failed"].inc(inputs)
        self._failures.labels(self._stage, kind, reason).inc(inputs)

    def dropped(self, records: int) -> None:
        self._dropped.inc(records)

    def batch(self, size: int, seconds: float) -> None:
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def age(self, seconds: float) -> None:
        self._age.observe(max(0.0, seconds))

    def in_flight(self, records: int) -> None:
        self._in_flight.set(records)

    def lag(self, by_partition: dict[int, int]) -> None:
        """Set the lag of every owned partition; those of others disappear."""
        self._lag.clear()
        for partition, records in by_partition.items():
            self._lag.labels(self._stage, str(partition)).set(records)
        self._partitions.set(len(by_partition))

    def transaction(self, result: TransactionResult, seconds: float | None = None) -> None:
        self._transaction_children[result].inc()
        if seconds is not None:
            self._transaction_seconds.observe(seconds)

    def circuit_open(self, is_open: bool) -> None:
        self._circuit.set(is_open)

    def rebalance(self, event: RebalanceEvent) -> None:
        self._rebalance_children[event].inc()

    def retried(self, action: str) -> None:
        self._retries.labels(self._stage, action).inc()
