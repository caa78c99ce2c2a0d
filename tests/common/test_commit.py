"""The commit thread against what the other threads do meanwhile."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from common.health import Health
from common.kafka import Committed, ConsumedRecord, KafkaError, Membership, Message, Partition
from common.runtime.commit import Committer
from common.runtime.errors import ConfigurationError, TransientError
from common.runtime.failing import FailingTransactions
from common.runtime.flight import Failed, Fetched, Finished, Loaded, Prepared
from common.runtime.handover import Batch
from common.runtime.ownership import Assignment, Progress
from common.settings import RuntimeSettings
from schemas.counters import OffsetMetadata, ShardMark
from schemas.dead_letters import DeadLetterKind
from schemas.invalid import InvalidReason, InvalidRecord
from tests.common.parts import shared_parts

FIRST, SECOND = Partition("captions", 0), Partition("captions", 1)


STABLE = Membership(generation=3, member_id="edits-1", stable=True, client_metadata=None)


def own(assignment: Assignment, partition: Partition) -> None:
    """Given to this worker by the group, and started."""
    assignment.assigned([partition])
    epoch = assignment.start_epoch(partition)
    assert epoch is not None
    assignment.started(partition, epoch, Progress(0, OffsetMetadata()))


def batch_of(assignment: Assignment, *partitions: Partition, offset: int = 0) -> Batch:
    """A batch of one record per partition behind its stage."""
    began, prepared = [], []
    for partition in partitions:
        epoch = assignment.fetched(partition, 1)
        assert epoch is not None
        assert assignment.begin(partition, epoch, 1)
        fetched = Fetched(ConsumedRecord(partition, offset, None, b"", (), 0.0), epoch)
        loaded = Loaded(fetched, InvalidRecord(InvalidReason.UNDECODABLE, "junk"))
        outcome = Failed(DeadLetterKind.INVALID, InvalidReason.UNDECODABLE)
        began.append(fetched)
        prepared.append(Prepared(Finished(loaded, outcome, 1, 0.0, 0.0), outcome, []))
    future: Future[list[Prepared]] = Future()
    future.set_result(prepared)
    return Batch(began, [future])


def begun(assignment: Assignment, partition: Partition) -> Batch:
    """A batch of one record behind its stage, of a partition that was owned for it."""
    own(assignment, partition)
    return batch_of(assignment, partition)


class Producer:
    """Takes every transaction. `committed` are the offsets of each; `refuse` may raise where one is to fail."""

    def __init__(self, refuse: Callable[[Mapping[Partition, Committed]], None] = lambda offsets: None) -> None:
        self._refuse = refuse
        self.committed: list[dict[Partition, Committed]] = []
        self._offsets: Mapping[Partition, Committed] = {}

    def begin(self) -> None:
        pass

    def send(self, message: Message) -> None:
        pass

    def send_offsets(self, offsets: Mapping[Partition, Committed], membership: Membership) -> None:
        self._offsets = offsets

    def commit(self) -> None:
        self._refuse(self._offsets)
        self.committed.append(dict(self._offsets))

    def close(self) -> None:
        pass


class Shards:
    """A sink's delivery that keeps only what it was asked to do."""

    def __init__(self) -> None:
        self.pending: list[ShardMark] = []
        self.placed: list[ShardMark] = []
        self.on_seal: Callable[[], None] = lambda: None
        self.on_complete: Callable[[], None] = lambda: None

    def seal(self, partition: Partition, prepared: Sequence[Prepared], wanted: Callable[[], bool]) -> ShardMark:
        self.on_seal()
        offset = prepared[0].fetched.record.offset
        mark = ShardMark(token=f"{offset:032x}", name=f"part-{partition.index:05d}-{offset:012d}-{offset:012d}.parquet")
        self.pending.append(mark)
        return mark

    def discard(self, mark: ShardMark) -> None:
        self.pending.remove(mark)

    def complete(self, partition: Partition, metadata: OffsetMetadata) -> None:
        self.on_complete()
        assert metadata.shard is not None
        self.pending.remove(metadata.shard)
        self.placed.append(metadata.shard)


def no_producer() -> Any:
    raise AssertionError("nothing to commit")


def committer(
    assignment: Assignment,
    membership: Callable[[], Membership | None] = lambda: STABLE,
    connect: Callable[[], Any] = no_producer,
    delivery: Any = None,
    health: Health | None = None,
) -> Committer:
    """A committer alone; as it stands one that never comes to a transaction."""
    settings = RuntimeSettings(retry_first_s=0.1, retry_max_s=0.3)
    made = Committer(shared_parts(settings, assignment, delivery=delivery, health=health), connect, membership)
    if connect is not no_producer:
        made.open()
    return made


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


def test_a_shard_that_is_not_in_its_place_yet_is_named_until_it_is() -> None:
    """The worker is told to stop while the store is away for a moment: the batch behind would name another shard."""
    assignment, shards, producer = Assignment(5), Shards(), Producer()
    own(assignment, FIRST)
    first, second = batch_of(assignment, FIRST, offset=0), batch_of(assignment, FIRST, offset=1)

    def away_at_the_end() -> None:
        assignment.drain_all()
        raise TransientError("503")

    shards.on_complete = away_at_the_end
    ours = committer(assignment, connect=lambda: producer, delivery=shards)
    ours._commit_batch(first)
    assert [mark.name for mark in shards.pending] == ["part-00000-000000000000-000000000000.parquet"]
    ours._commit_batch(second)

    (offsets,) = producer.committed
    assert offsets[FIRST].offset == 1
    assert OffsetMetadata.decode(offsets[FIRST].metadata).shard == shards.pending[0]
    assert not assignment.busy()


def test_of_a_batch_only_the_partition_waits_whose_shard_is_not_in_its_place() -> None:
    assignment, shards, producer = Assignment(5), Shards(), Producer()
    own(assignment, FIRST)
    own(assignment, SECOND)
    ours = committer(assignment, connect=lambda: producer, delivery=shards)
    both, behind = (
        batch_of(assignment, FIRST, SECOND, offset=0),
        batch_of(assignment, FIRST, SECOND, offset=1),
    )

    def away_once() -> None:
        assignment.revoking([FIRST, SECOND])
        shards.on_complete = lambda: None
        raise TransientError("503")

    shards.on_complete = away_once
    ours._commit_batch(both)
    ours._commit_batch(behind)

    assert [{p: c.offset for p, c in offsets.items()} for offsets in producer.committed] == [
        {FIRST: 1, SECOND: 1},
        {SECOND: 2},
    ]


class Clock:
    """The time that the watch sees."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("common.health.time", made)
    return made


def watched() -> Health:
    health = Health()
    for thread in ("commit", "shard"):
        health.watch(thread, 10)
    return health


def test_a_batch_of_many_shards_is_no_thread_that_hangs(clock: Clock) -> None:
    """A store that is slow but answers: each shard is within the limit, all together are not."""
    partitions = [Partition("captions", index) for index in range(4)]
    assignment, shards, producer, health = Assignment(5), Shards(), Producer(), watched()
    for partition in partitions:
        own(assignment, partition)
    stuck = []

    def slowly() -> None:
        clock.now += 9
        stuck.append(health.stuck())

    shards.on_seal = shards.on_complete = slowly
    ours = committer(assignment, connect=lambda: producer, delivery=shards, health=health)
    health.busy("commit")
    ours._commit_batch(batch_of(assignment, *partitions))

    assert stuck == [None] * 8
    assert health.stuck() is None
    clock.now += 11
    assert (late := health.stuck()) is not None
    assert late.thread == "commit"


def test_one_shard_that_never_ends_is_a_thread_that_hangs(clock: Clock) -> None:
    assignment, shards, producer, health = Assignment(5), Shards(), Producer(), watched()
    own(assignment, FIRST)
    stuck = []

    def hangs() -> None:
        clock.now += 11
        stuck.append(health.stuck())

    shards.on_seal = hangs
    ours = committer(assignment, connect=lambda: producer, delivery=shards, health=health)
    ours._commit_batch(batch_of(assignment, FIRST))
    assert [one.thread for one in stuck if one is not None] == ["shard"]


def test_who_waits_for_the_store_pool_does_not_hang(clock: Clock) -> None:
    """Its threads are watched by themselves, one picture after the other."""
    assignment, producer, health = Assignment(5), Producer(), watched()
    own(assignment, FIRST)
    batch = batch_of(assignment, FIRST)
    stuck = []

    class Late(Future[list[Prepared]]):
        def result(self, timeout: float | None = None) -> list[Prepared]:
            clock.now += 11
            stuck.append(health.stuck())
            (done,) = batch.prepared
            return done.result()

    ours = committer(assignment, connect=lambda: producer, delivery=Shards(), health=health)
    health.busy("commit")
    ours._commit_batch(Batch(batch.began, [Late()]))
    assert stuck == [None]
    assert producer.committed


def again(assignment: Assignment, *partitions: Partition) -> Batch:
    """A batch of one record each, after everything that is owned has started anew where it had to."""
    for partition in assignment.starting():
        epoch = assignment.start_epoch(partition)
        assert epoch is not None
        assignment.started(partition, epoch, Progress(0, OffsetMetadata()))
    return batch_of(assignment, *partitions)


def test_what_the_broker_refuses_again_and_again_is_said_and_tried_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assignment, health = Assignment(5), Health()
    health.resumed("start")
    own(assignment, FIRST)
    own(assignment, SECOND)
    refused = {FIRST}

    def refuse(offsets: Mapping[Partition, Committed]) -> None:
        if refused & set(offsets):
            raise KafkaError("a record of 1500000 bytes")

    ours = committer(assignment, connect=lambda: Producer(refuse), delivery=Shards(), health=health)
    ours._commit_batch(again(assignment, FIRST))
    assert health.unready() == []  # one is nothing
    ours._commit_batch(again(assignment, FIRST))
    assert "2 times in a row: KafkaError" in health.unready()[0]
    ours._commit_batch(again(assignment, SECOND))
    assert health.unready()  # says nothing about the first
    for _ in range(2):
        ours._commit_batch(again(assignment, FIRST))
    assert re.findall(r"trying again in (.*) s", caplog.text) == ["0.1", "0.2", "0.3"]

    refused.clear()
    ours._commit_batch(again(assignment, FIRST))
    assert health.unready() == []


def test_what_was_refused_is_forgotten_when_its_partition_goes_elsewhere() -> None:
    health = Health()
    health.resumed("start")
    failing = FailingTransactions(RuntimeSettings(), health)
    for _ in range(2):
        failing.failed([FIRST], KafkaError("refused"))
    failing.owned([FIRST, SECOND])
    assert health.unready()
    failing.owned([SECOND])
    assert health.unready() == []
    assert failing.failed([FIRST], KafkaError("refused")) == 0


def test_a_pause_grows_no_longer_than_a_worker_may_take_to_be_back() -> None:
    failing = FailingTransactions(RuntimeSettings(), Health())
    pauses = [failing.failed([FIRST], KafkaError("refused")) for _ in range(1_200)]
    assert pauses[:4] == [0, 0.5, 1, 2]
    assert pauses[-1] == 10
    patient = FailingTransactions(RuntimeSettings(retry_max_s=3), Health())
    assert max(patient.failed([FIRST], KafkaError("refused")) for _ in range(9)) == 3


def test_a_right_that_is_taken_away_ends_the_worker_and_leaves_no_shard() -> None:
    assignment, shards = Assignment(5), Shards()
    own(assignment, FIRST)

    class Forbidden(Producer):
        def send_offsets(self, offsets: Mapping[Partition, Committed], membership: Membership) -> None:
            raise ConfigurationError("this client may not do this")

    ours = committer(assignment, connect=Forbidden, delivery=shards)
    with pytest.raises(ConfigurationError, match="may not"):
        ours._commit_batch(batch_of(assignment, FIRST))
    assert shards.pending == []


def test_what_was_stored_too_long_ago_is_stored_again_before_anything_refers_to_it() -> None:
    """The rest of the batch waited for a store that was away for a day, and garbage was collected meanwhile."""
    assignment, shards, producer = Assignment(5), Shards(), Producer()
    own(assignment, FIRST)
    batch = batch_of(assignment, FIRST)
    ours = committer(assignment, connect=lambda: producer, delivery=shards)
    ours._commit_batch(replace(batch, since=time.time() - 24 * 3_600))
    assert producer.committed == []
    assert shards.pending == []

    ours._commit_batch(again(assignment, FIRST))
    assert len(producer.committed) == len(shards.placed) == 1
