"""The commit thread against what the other threads do meanwhile."""

from concurrent.futures import Future
from typing import Any

from common.health import Health
from common.kafka import ConsumedRecord, Membership, Partition
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit
from common.runtime.commit import Committer
from common.runtime.faults import Faults
from common.runtime.flight import Failed, Fetched, Finished, Loaded, Prepared
from common.runtime.handover import Batch, CommitQueue
from common.runtime.ownership import Assignment, Progress
from common.runtime.retry import Retry
from common.runtime.shared import Shared
from common.runtime.watchdog import TransactionWatchdog
from common.settings import RuntimeSettings
from schemas.counters import OffsetMetadata
from schemas.dead_letters import DeadLetterKind
from schemas.invalid import InvalidReason, InvalidRecord

FIRST, SECOND = Partition("captions", 0), Partition("captions", 1)


def begun(assignment: Assignment, partition: Partition) -> Batch:
    """A batch of one record behind its stage."""
    assignment.assigned([partition])
    epoch = assignment.start_epoch(partition)
    assert epoch is not None
    assignment.started(partition, epoch, Progress(0, OffsetMetadata()))
    assert assignment.fetched(partition, 1) == epoch
    assert assignment.begin(partition, epoch, 1)
    fetched = Fetched(ConsumedRecord(partition, 0, None, b"", (), 0.0), epoch)
    loaded = Loaded(fetched, InvalidRecord(InvalidReason.UNDECODABLE, "junk"))
    outcome = Failed(DeadLetterKind.INVALID, InvalidReason.UNDECODABLE)
    future: Future[list[Prepared]] = Future()
    future.set_result([Prepared(Finished(loaded, outcome, 1, 0.0, 0.0), outcome, [])])
    return Batch([fetched], [future])


def test_an_eviction_that_is_seen_late_ends_nothing_that_was_assigned_since() -> None:
    """The poll thread has joined again before the commit thread, which has seen the lost membership, says so."""
    settings, health, metrics = RuntimeSettings(), Health(), WorkerMetrics("edits", "0", "test")
    marks: Any = None
    assignment = Assignment(5)
    delivery: Any = None
    shared = Shared(
        settings,
        assignment,
        CommitQueue(),
        delivery,
        Retry(settings, health, metrics),
        Faults([]),
        health,
        metrics,
        TransactionWatchdog(settings),
        marks,
        Circuit(settings, health, metrics),
    )

    def evicted() -> Membership:
        assignment.lost([FIRST])
        assignment.assigned([FIRST, SECOND])
        return Membership(generation=-1, member_id="", stable=False, client_metadata=None)

    def no_producer() -> Any:
        raise AssertionError("nothing to commit")

    batch = begun(assignment, FIRST)
    Committer(shared, no_producer, evicted)._commit_batch(batch)
    assert assignment.starting() == [FIRST, SECOND]


def test_an_eviction_ends_what_was_begun_before_it() -> None:
    assignment = Assignment(5)
    batch = begun(assignment, FIRST)
    stamp = batch.began[0].stamp
    assignment.end({stamp})
    assert not assignment.may_commit(*stamp)
    assert not assignment.wanted(*stamp)
