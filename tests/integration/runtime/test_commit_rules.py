"""The rules of the commit thread, each against the broker's own behaviour. Taking a rule out makes its test fail."""

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from common.health import Health
from common.kafka import Admin, Committed, ConsumedRecord, GroupConsumer, Membership, Partition, TransactionalProducer
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit
from common.runtime.commit import Committer
from common.runtime.crash_marks import CrashMarks
from common.runtime.delivery import TopicDelivery
from common.runtime.faults import Faults, Step
from common.runtime.flight import Failed, Fetched, Finished, Loaded, Prepared
from common.runtime.handover import Batch, CommitQueue, IdleCommit
from common.runtime.ownership import Assignment, Progress
from common.runtime.retry import Retry
from common.runtime.shared import Shared
from common.runtime.watchdog import TransactionWatchdog
from schemas.counters import Counters, OffsetMetadata
from schemas.dead_letters import DeadLetterKind
from schemas.invalid import InvalidReason, InvalidRecord
from tests.integration.kit import Stream, wait_until
from tests.integration.runtime.in_process import Hooks

GROUP_WORKER = "edits"


class Silent:
    """A listener that only notes: the tests decide when the worker learns of a rebalance."""

    def __init__(self) -> None:
        self.owned: set[Partition] = set()

    def assigned(self, partitions: Collection[Partition]) -> None:
        self.owned |= set(partitions)

    def revoking(self, partitions: Collection[Partition]) -> None:
        self.owned -= set(partitions)

    def revoke_settled(self, partitions: Collection[Partition]) -> bool:
        return True

    def lost(self, partitions: Collection[Partition]) -> None:
        self.owned -= set(partitions)


@dataclass
class Member:
    """A consumer in the group, polled by the test."""

    consumer: GroupConsumer
    listener: Silent

    def poll(self) -> None:
        self.consumer.poll(0.05, 10)


@dataclass
class Bench:
    """A committer with everything around it, but no other threads."""

    stream: Stream
    memberships: list[Membership] = field(default_factory=list)
    faults: Faults = field(default_factory=lambda: Faults([]))

    def __post_init__(self) -> None:
        settings = self.stream.settings
        health, metrics = Health(), WorkerMetrics(GROUP_WORKER, "test", "sketch")
        for thread in ("commit", "poll", "stage"):
            health.watch(thread, 60)
        retry = Retry(settings.runtime, health, metrics)
        self.assignment = Assignment(drain_budget_s=5)
        self.commits = CommitQueue()
        delivery = TopicDelivery.__new__(TopicDelivery)  # no outcome here is stored or sent
        self.producers = 0
        self.shared = Shared(
            settings.runtime,
            self.assignment,
            self.commits,
            delivery,
            retry,
            self.faults,
            health,
            metrics,
            TransactionWatchdog(settings.runtime),
            CrashMarks(settings.blobs, self.stream.names.group(GROUP_WORKER)),
            Circuit(settings.runtime, health, metrics),
        )
        self.committer = Committer(self.shared, self._connect, lambda: self.memberships.pop(0))
        self.committer.open()

    def _connect(self) -> TransactionalProducer:
        self.producers += 1
        return TransactionalProducer(self.stream.settings.kafka, f"{self.stream.prefix}.edits.bench", 10)

    def own(self, index: int, offset: int, metadata: OffsetMetadata | None = None) -> Partition:
        partition = Partition(self.stream.names.topic("captions"), index)
        self.assignment.assigned([partition])
        self.start(partition, offset, metadata)
        return partition

    def start(self, partition: Partition, offset: int, metadata: OffsetMetadata | None = None) -> None:
        epoch = self.assignment.start_epoch(partition)
        assert epoch is not None
        self.assignment.started(partition, epoch, Progress(offset, metadata or OffsetMetadata()))

    def commit(self, *positions: tuple[Partition, int]) -> None:
        """Commit a batch of one record per partition, so that the next offset is the given one."""
        prepared = [self._prepared(partition, position - 1) for partition, position in positions]
        future: Future[list[Prepared]] = Future()
        future.set_result(prepared)
        self.committer._commit_batch(Batch([one.fetched for one in prepared], [future]))

    def idle(self, partition: Partition, position: int) -> None:
        stamp = next(epoch for p, epoch, _ in self.assignment.quiet() if p == partition)
        self.committer._commit_idle(IdleCommit(partition, stamp, position))

    def committed(self) -> dict[int, Committed]:
        group = self.stream.names.group(GROUP_WORKER)
        with Admin(self.stream.settings.kafka) as admin:
            return {p.index: c for p, c in admin.group_offsets([group])[group].items()}

    def offsets(self) -> dict[int, int]:
        return {index: committed.offset for index, committed in self.committed().items()}

    def close(self) -> None:
        self.committer.close()

    def _prepared(self, partition: Partition, offset: int) -> Prepared:
        epoch = self.assignment.fetched(partition, 1)
        assert epoch is not None
        fetched = Fetched(ConsumedRecord(partition, offset, None, b"", (), time.time()), epoch)
        assert self.assignment.begin(*fetched.stamp, 1)
        outcome = Failed(DeadLetterKind.INVALID, "undecodable")
        loaded = Loaded(fetched, InvalidRecord(InvalidReason.UNDECODABLE, "junk"))
        return Prepared(Finished(loaded, outcome, 1, 0.0, time.time()), outcome, [])


@contextmanager
def group(stream: Stream) -> Iterator[Callable[[str], Member]]:
    """A group whose members the test makes."""
    members: list[Member] = []

    def join(instance: str) -> Member:
        listener = Silent()
        consumer = GroupConsumer(
            stream.settings.kafka,
            group=stream.names.group(GROUP_WORKER),
            instance=instance,
            topic=stream.names.topic("captions"),
            session_timeout_s=6,
            listener=listener,
        )
        members.append(Member(consumer, listener))
        return members[-1]

    yield join
    for member in members:
        member.consumer.close(1)


def settle(*members: Member, partitions: int = 4) -> None:
    """Poll until the members share all partitions and the group is stable."""

    def settled() -> bool:
        for member in members:
            member.poll()
        owned = [member.listener.owned for member in members]
        return (
            all(owned)
            and sum(map(len, owned)) == partitions
            and all(member.consumer.membership().stable for member in members)
        )

    wait_until("the group is stable", settled, 30, 0)


@pytest.fixture
def bench(stream: Stream) -> Iterator[Bench]:
    made = Bench(stream)
    yield made
    made.close()


def test_offsets_that_were_refused_are_not_sent_again_in_the_next_transaction(stream: Stream, bench: Bench) -> None:
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        stale = ours.consumer.membership()
        theirs = join("theirs")
        settle(ours, theirs)
        moved = sorted(theirs.listener.owned)
        kept = sorted(ours.listener.owned)
        producer = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.theirs", 10)
        producer.begin()
        producer.send_offsets({partition: Committed(10, "") for partition in moved}, theirs.consumer.membership())
        producer.commit()
        producer.close()

        for partition in [*moved, *kept]:
            bench.own(partition.index, 0)
        bench.memberships = [stale]
        bench.commit(*((partition, 5) for partition in moved))  # refused: the generation has moved on
        for partition in kept:
            bench.start(partition, 0)
        bench.memberships = [ours.consumer.membership()]
        bench.commit(*((partition, 7) for partition in kept))

        assert bench.offsets() == {p.index: 10 for p in moved} | {p.index: 7 for p in kept}


def test_an_evicted_member_commits_nothing(stream: Stream, bench: Bench) -> None:
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        partition = bench.own(0, 0)
        bench.memberships = [ours.consumer.membership()]
        bench.commit((partition, 9))
        with Admin(stream.settings.kafka) as admin:
            admin.remove_member(stream.names.group(GROUP_WORKER), "ours")
        wait_until("it knows", lambda: ours.consumer.membership().lost, 10)
        evicted = ours.consumer.membership()

        # The broker takes generation -1 in a transaction: without the rule the offset is rewound.
        bench.assignment.lost([partition])
        partition = bench.own(0, 0)
        bench.memberships = [evicted]
        bench.commit((partition, 2))

        assert bench.offsets() == {0: 9}
        assert not bench.assignment.active()


def test_an_idle_commit_never_overtakes_a_transaction(stream: Stream) -> None:
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        bench = Bench(stream)
        partition = bench.own(0, 0)
        idle = IdleCommit(partition, next(epoch for _, epoch, _ in bench.assignment.quiet()), 200)
        # Found idle just before a batch came; the transaction of the batch is open when it is handed over.
        bench.faults = bench.committer._faults = Hooks(Step.AFTER_OFFSETS, lambda: bench.commits.offer(idle))
        bench.memberships = [ours.consumer.membership()] * 2
        bench.commit((partition, 300))
        waiting = bench.commits.get(1)
        assert isinstance(waiting, IdleCommit)
        bench.committer._commit_idle(waiting)

        committed = bench.committed()[0]
        assert committed.offset == 300
        assert OffsetMetadata.decode(committed.metadata).counters.consumed == 1
        bench.close()


def test_an_idle_commit_keeps_the_counters(stream: Stream, bench: Bench) -> None:
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        partition = bench.own(0, 0)
        bench.memberships = [ours.consumer.membership()] * 2
        bench.commit((partition, 3))
        bench.idle(partition, 5)

        committed = bench.committed()[0]
        assert committed.offset == 5
        assert OffsetMetadata.decode(committed.metadata).counters.consumed == 1


def test_metadata_that_is_too_long_is_found_before_a_transaction_begins(stream: Stream, bench: Bench) -> None:
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        too_much = OffsetMetadata(
            counters=Counters(rejected={f"reason_{n:04d}_with_a_long_name": 1 for n in range(200)})
        )
        full = bench.own(0, 0, too_much)
        other = bench.own(1, 0)
        bench.memberships = [ours.consumer.membership()] * 2

        with pytest.raises(ValueError, match="the broker takes 4096"):
            bench.commit((full, 1))
        bench.commit((other, 1))

        assert bench.offsets() == {1: 1}
        assert bench.producers == 1
        # Without the check the broker refuses it, and the producer is dead.
        bench.memberships = []


def test_a_gap_ends_what_is_committed_of_its_partition(stream: Stream, bench: Bench) -> None:
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        gapped, whole = bench.own(0, 0), bench.own(1, 0)
        began = [bench._prepared(gapped, offset) for offset in range(3)] + [bench._prepared(whole, 0)]
        future: Future[list[Prepared]] = Future()
        future.set_result([began[0], began[2], began[3]])
        bench.memberships = [ours.consumer.membership()]
        bench.committer._commit_batch(Batch([one.fetched for one in began], [future]))

        assert bench.offsets() == {0: 1, 1: 1}
