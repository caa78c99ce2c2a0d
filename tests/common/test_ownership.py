"""The ownership of partitions: what a revoke waits for, and whose results may be committed."""

import pytest

from common.kafka import Partition
from common.runtime.ownership import Assignment, Progress
from schemas.counters import OffsetMetadata

PARTITION = Partition("captions", 0)


def working(drain_budget_s: float) -> tuple[Assignment, int]:
    """An assignment with one record begun, and the epoch of that record."""
    assignment = Assignment(drain_budget_s)
    assignment.assigned([PARTITION])
    epoch = assignment.start_epoch(PARTITION)
    assert epoch is not None
    assert assignment.started(PARTITION, epoch, Progress(0, OffsetMetadata()))
    assert assignment.fetched(PARTITION, 2) == epoch
    assert assignment.begin(PARTITION, epoch, 1)
    return assignment, epoch


def test_a_revoke_waits_until_what_has_begun_is_committed_and_begins_nothing_more() -> None:
    assignment, epoch = working(drain_budget_s=60)
    assignment.revoking([PARTITION])
    assert not assignment.revoke_settled([PARTITION])
    assert not assignment.begin(PARTITION, epoch, 1)
    assert assignment.may_commit(PARTITION, epoch)
    assignment.settle(PARTITION, epoch, 1)
    assert assignment.revoke_settled([PARTITION])
    assert not assignment.may_commit(PARTITION, epoch)


def test_a_revoke_waits_no_longer_than_its_budget() -> None:
    assignment, epoch = working(drain_budget_s=0)
    assignment.revoking([PARTITION])
    assert assignment.revoke_settled([PARTITION])
    assert not assignment.may_commit(PARTITION, epoch)


@pytest.mark.parametrize("ended_by", ["restart_all", "lose_all"])
def test_what_was_fetched_before_an_ownership_ended_is_nobodys_after(ended_by: str) -> None:
    assignment, epoch = working(drain_budget_s=60)
    getattr(assignment, ended_by)()
    assignment.assigned([PARTITION])
    again = assignment.start_epoch(PARTITION)
    assert again is not None
    assert again != epoch
    assert assignment.started(PARTITION, again, Progress(0, OffsetMetadata()))
    assert not assignment.begin(PARTITION, epoch, 1)
    assert not assignment.may_commit(PARTITION, epoch)
    assert assignment.progress(PARTITION, epoch) is None
