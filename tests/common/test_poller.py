"""The poll thread, a turn at a time, on a consumer that does what the test says."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from common.health import Health
from common.kafka import Committed, ConsumedRecord, Fetched, KafkaError, Partition, UnreadableError
from common.runtime import flight
from common.runtime.crash_marks import CrashMarks
from common.runtime.errors import BrokerUnreachableError, ConfigurationError, TransientError
from common.runtime.handover import IdleCommit
from common.runtime.ownership import Assignment
from common.runtime.poller import Poller
from common.settings import BlobSettings, RuntimeSettings
from tests.common.parts import shared_parts

FIRST, SECOND = Partition("captions", 0), Partition("captions", 1)


class Consumer:
    """Owns what the group gave it; its log is empty."""

    def __init__(self) -> None:
        self.owned = {FIRST, SECOND}
        self.paused: set[Partition] = set()
        self.sought: list[Partition] = []
        self.polls = 0
        self.position_sought = -1
        self.forgotten = False
        self.starts_at = 0
        self.damaged: set[Partition] = set()
        self.ends_known = True
        self.broker_there = True

    def assignment(self) -> set[Partition]:
        return set(self.owned)

    def pause(self, partitions: Collection[Partition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Collection[Partition]) -> None:
        self.paused -= set(partitions)

    def poll(self, timeout_s: float, max_records: int) -> list[Fetched]:
        self.polls += 1
        if self.damaged and not self.damaged <= self.paused:
            self.pause(self.damaged)
            [partition] = self.damaged
            raise UnreadableError(partition, 5, ValueError("CRC"))
        return []

    def committed(self, partition: Partition, timeout_s: float) -> Committed | None:
        return None if self.forgotten else Committed(3, "")

    def log_start(self, partition: Partition, timeout_s: float) -> int:
        return self.starts_at

    def seek(self, partition: Partition, offset: int) -> None:
        self.sought.append(partition)
        self.position_sought = offset

    def position(self, partition: Partition) -> int | None:
        return 3

    def end_offsets(self, partitions: Collection[Partition], timeout_s: float) -> dict[Partition, int]:
        if not self.ends_known:
            raise KafkaError("no leader")
        return dict.fromkeys(partitions, 3)

    def reachable(self) -> bool:
        return self.broker_there


class Room:
    def room(self) -> int:
        return 10


class Whole:
    """The partitions that every topic of the stage has."""

    def __init__(self) -> None:
        self.partitions = {FIRST, SECOND}
        self.growing = False
        self.broker_there = True
        self.has_outputs = False

    def worked_on(self, partition: Partition) -> bool:
        return self.has_outputs

    def check_partition(self, partition: Partition, epoch: int) -> None:
        if not self.broker_there:
            raise BrokerUnreachableError("nobody answers")
        if partition not in self.partitions:
            raise (TransientError if self.growing else ConfigurationError)(
                "all topics of a stream need the same number"
            )


class Outputs:
    """Where the outputs go: an object store that may be away."""

    def __init__(self) -> None:
        self.there = True
        self.asked: list[Partition] = []
        self.takes_s = 0.0

    def complete(self, partition: Partition, metadata: object) -> None:
        self.asked.append(partition)
        time.sleep(self.takes_s)
        if not self.there:
            raise TransientError("503")


@pytest.fixture
def assignment() -> Assignment:
    made = Assignment(5)
    made.assigned([FIRST, SECOND])
    return made


@pytest.fixture
def whole() -> Whole:
    return Whole()


@pytest.fixture
def outputs() -> Outputs:
    return Outputs()


@pytest.fixture
def settings() -> RuntimeSettings:
    return RuntimeSettings()


@pytest.fixture
def poller(settings: RuntimeSettings, assignment: Assignment, whole: Whole, outputs: Outputs, tmp_path: Path) -> Poller:
    health = Health()
    marks = CrashMarks(BlobSettings(url=str(tmp_path)), "imgdiff.edits")
    marks.prepare()
    health.watch("poll", 30)
    intake: Any = Room()
    shared = shared_parts(settings, assignment, delivery=outputs, marks=marks, health=health)
    shared.commits.settled = True
    cluster: Any = whole
    connect: Any = None
    return Poller(shared, intake, cluster, connect)


def turn(poller: Poller, consumer: Consumer) -> None:
    some: Any = consumer
    poller._turn(some)


def test_what_is_owned_and_not_known_starts_anew(poller: Poller, assignment: Assignment) -> None:
    """The commit thread gave up an ownership that the client did not take away: nobody would ever work on it."""
    consumer = Consumer()
    turn(poller, consumer)
    stamp = (FIRST, assignment.fetched(FIRST, 1) or 0)
    assignment.end({stamp})
    turn(poller, consumer)
    assert assignment.active() == [SECOND, FIRST]
    assert consumer.sought == [FIRST, SECOND, FIRST]
    assert not assignment.may_commit(*stamp)


def test_a_partition_without_leader_costs_no_work_on_the_others(poller: Poller, assignment: Assignment) -> None:
    consumer = Consumer()
    turn(poller, consumer)
    consumer.ends_known = False
    poller._next_lag_check = 0.0
    turn(poller, consumer)
    assert assignment.active() == [FIRST, SECOND]


def test_a_broker_that_is_away_is_told(poller: Poller) -> None:
    consumer = Consumer()
    turn(poller, consumer)
    consumer.ends_known = consumer.broker_there = False
    poller._next_lag_check = 0.0
    with pytest.raises(KafkaError):
        turn(poller, consumer)


def test_a_partition_that_other_topics_lack_ends_the_worker(
    poller: Poller, assignment: Assignment, whole: Whole
) -> None:
    """Nothing read from it could ever be committed."""
    whole.partitions = {FIRST}
    with pytest.raises(ConfigurationError, match="the same number"):
        turn(poller, Consumer())
    assert assignment.active() == [FIRST]


def test_a_partition_that_other_topics_are_getting_is_waited_for(
    poller: Poller, assignment: Assignment, whole: Whole
) -> None:
    whole.partitions, whole.growing = {FIRST}, True
    turn(poller, Consumer())
    assert assignment.active() == [FIRST]
    whole.partitions = {FIRST, SECOND}
    turn(poller, Consumer())
    assert assignment.active() == [FIRST, SECOND]


def test_a_new_partition_waits_for_a_broker_that_can_not_be_asked(
    poller: Poller, assignment: Assignment, whole: Whole
) -> None:
    whole.broker_there = False
    turn(poller, Consumer())
    assert assignment.active() == []
    whole.broker_there = True
    turn(poller, Consumer())
    assert set(assignment.active()) == {FIRST, SECOND}


def test_a_store_that_is_away_is_asked_once_between_polls(
    poller: Poller, assignment: Assignment, outputs: Outputs
) -> None:
    """One call to it may take a minute: with one for every partition the thread would count as stuck."""
    consumer = Consumer()
    outputs.there = False
    turn(poller, consumer)
    assert (outputs.asked, consumer.polls) == ([FIRST], 1)
    turn(poller, consumer)
    assert (outputs.asked, consumer.polls) == ([FIRST, SECOND], 2)
    outputs.there = True
    turn(poller, consumer)
    assert set(assignment.active()) == {FIRST, SECOND}


def test_starts_that_take_long_leave_time_to_poll(
    poller: Poller, assignment: Assignment, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.runtime.poller.START_S", 0.01)
    outputs.takes_s = 0.02
    turn(poller, Consumer())
    assert assignment.active() == [FIRST]
    turn(poller, Consumer())
    assert assignment.active() == [FIRST, SECOND]


def test_each_start_has_the_whole_limit_of_the_thread(poller: Poller, outputs: Outputs) -> None:
    health = poller._health
    health.watch("poll", 0.6)
    stuck = []
    outputs.takes_s = 0.35
    complete = outputs.complete

    def looked_at(partition: Partition, metadata: object) -> None:
        complete(partition, metadata)
        stuck.append(health.stuck())

    outputs.complete = looked_at  # type: ignore[method-assign]
    turn(poller, Consumer())
    assert stuck == [None, None]


def test_a_partition_that_can_not_start_keeps_no_other_from_it(
    poller: Poller, assignment: Assignment, whole: Whole
) -> None:
    whole.partitions, whole.growing = {SECOND}, True
    for _ in range(2):
        turn(poller, Consumer())
    assert assignment.active() == [SECOND]


def test_a_group_that_has_never_begun_begins_at_the_start(poller: Poller, assignment: Assignment) -> None:
    consumer = Consumer()
    consumer.forgotten = True
    turn(poller, consumer)
    assert assignment.committed_offsets() == {FIRST: 0, SECOND: 0}
    assert consumer.position_sought == 0


def test_a_group_that_is_forgotten_does_not_begin_anew(poller: Poller, whole: Whole) -> None:
    """Everything that its topic still has would be done twice."""
    consumer = Consumer()
    consumer.forgotten = whole.has_outputs = True
    with pytest.raises(ConfigurationError, match=r"captions/0: nothing is committed, but outputs.*accept_loss"):
        turn(poller, consumer)


def test_a_log_that_has_lost_its_beginning_is_no_beginning(poller: Poller) -> None:
    consumer = Consumer()
    consumer.forgotten, consumer.starts_at = True, 3
    with pytest.raises(ConfigurationError, match=r"captions/0: nothing is committed, but its log starts at 3"):
        turn(poller, consumer)


@pytest.mark.parametrize("settings", [RuntimeSettings(accept_loss=True)])
def test_a_gap_that_is_accepted_is_committed_over(
    poller: Poller, assignment: Assignment, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a partition with nothing left in it would have to be accepted at every start."""
    consumer = Consumer()
    consumer.forgotten, consumer.starts_at = True, 3
    turn(poller, consumer)
    assert "captions/1: nothing is committed" in caplog.text
    assert consumer.position_sought == 3
    assert assignment.committed_offsets() == {FIRST: 0, SECOND: 0}
    offered = poller._commits.get(0)
    assert isinstance(offered, IdleCommit)
    assert (offered.partition, offered.position) == (FIRST, 3)


def test_a_damaged_partition_stops_no_other(
    poller: Poller, assignment: Assignment, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = Consumer()
    consumer.damaged = {FIRST}
    for _ in range(3):
        turn(poller, consumer)
    assert consumer.paused == {FIRST}
    assert assignment.active() == [FIRST, SECOND]
    assert "captions/0 can not be read from offset 5 on: CRC" in poller._health.unready()
    assert caplog.text.count("can not be read") == 1


def test_a_damaged_partition_is_tried_again_when_it_is_assigned_anew(poller: Poller, assignment: Assignment) -> None:
    consumer = Consumer()
    consumer.damaged = {FIRST}
    turn(poller, consumer)
    turn(poller, consumer)
    consumer.damaged = set()
    assignment.restart_all()
    turn(poller, consumer)
    assert consumer.paused == set()
    assert "captions/0 can not be read from offset 5 on: CRC" not in poller._health.unready()


def test_a_damaged_partition_that_goes_elsewhere_is_no_longer_this_workers(
    poller: Poller, assignment: Assignment
) -> None:
    consumer = Consumer()
    consumer.damaged = {FIRST}
    turn(poller, consumer)
    consumer.owned = {SECOND}
    assignment.lost([FIRST])
    turn(poller, consumer)
    assert not any("can not be read" in why for why in poller._health.unready())


def test_what_goes_elsewhere_while_the_worker_drains_is_no_crash(
    poller: Poller, assignment: Assignment, tmp_path: Path
) -> None:
    """Its next owner would else take what was fetched and never begun for what this process died over."""
    consumer: Any = Consumer()
    turn(poller, consumer)
    poller._marks.enter([flight.Fetched(ConsumedRecord(each, 3, None, b"", (), 0.0), 1) for each in (FIRST, SECOND)])
    assignment.drain_all()
    poller.consumer = consumer
    consumer.owned = {FIRST}
    poller.keep_alive()
    poller._marks._background.submit(lambda: None).result(10)
    assert [path.name[:5] for path in (tmp_path / "crash-marks").rglob("*.*.*")] == ["00000"]
