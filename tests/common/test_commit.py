"""The commit thread against what the other threads do meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

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


def committer(assignment: Assignment, membership: Callable[[], Membership | None]) -> Committer:
    """A committer that never comes to a transaction."""
    settings, health, metrics = RuntimeSettings(), Health(), WorkerMetrics("edits", "0", "test")
    marks: Any = None
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

    def no_producer() -> Any:
        raise AssertionError("nothing to commit")

    return Committer(shared, no_producer, membership)


def test_an_eviction_that_is_seen_late_ends_nothing_that_was_assigned_since() -> None:
    """The poll thread has joined again before the commit thread, which has seen the lost membership, says so."""
    assignment = Assignment(5)

    def evicted() -> Membership:
        assignment.lost([FIRST])
        assignment.assigned([FIRST, SECOND])
        return Membership(generation=-1, member_id="", stable=False, client_metadata=None)

    batch = begun(assignment, FIRST)
    committer(assignment, evicted)._commit_batch(batch)
    assert assignment.starting() == [FIRST, SECOND]


@pytest.mark.parametrize(("generation", "member_id"), [(-1, "edits-1"), (3, "")])
def test_without_a_generation_or_without_an_id_there_is_no_transaction(generation: int, member_id: str) -> None:
    """Half a membership as well: the broker takes either in a transaction."""
    assignment = Assignment(5)
    batch = begun(assignment, FIRST)
    answers = [Membership(generation, member_id, stable=True, client_metadata=None)]
    assert answers[0].lost
    committer(assignment, answers.pop)._commit_batch(batch)
    assert not assignment.may_commit(*batch.began[0].stamp)


def test_while_the_group_is_not_stable_there_is_no_transaction() -> None:
    """It is waited for: the rebalance decides whether the partition stays."""
    assignment = Assignment(5)
    batch = begun(assignment, FIRST)
    looks: list[int] = []

    def rebalancing() -> Membership:
        looks.append(1)
        if len(looks) == 3:
            assignment.lost([FIRST])
        return Membership(generation=3, member_id="edits-1", stable=False, client_metadata=None)

    committer(assignment, rebalancing)._commit_batch(batch)
    assert len(looks) == 3


def test_an_eviction_ends_what_was_begun_before_it() -> None:
    assignment = Assignment(5)
    batch = begun(assignment, FIRST)
    stamp = batch.began[0].stamp
    assignment.end({stamp})
    assert not assignment.may_commit(*stamp)
    assert not assignment.wanted(*stamp)
