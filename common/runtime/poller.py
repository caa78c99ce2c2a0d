"""The poll thread: the only one that touches the consumer. It never waits for work."""

import logging
import threading
import time
from collections.abc import Callable, Collection

from common.kafka import FencedInstanceIdError, GroupConsumer, KafkaError, Partition, UnreadableError
from common.metrics import RebalanceEvent, WorkerMetrics, WorkPhase
from common.runtime.cluster import Cluster
from common.runtime.deadline import Deadline
from common.runtime.errors import BrokerUnreachableError, ConfigurationError, TransientError
from common.runtime.exits import FencedError
from common.runtime.flight import Fetched
from common.runtime.handover import IdleCommit
from common.runtime.intake import Intake
from common.runtime.ownership import Assignment, Progress
from common.runtime.patience import patience_spent
from common.runtime.shared import Shared
from schemas.counters import OffsetMetadata

log = logging.getLogger(__name__)

POLL_S = 0.1
"""Short, because a signal does not cut a poll short and a rebalance is noticed between polls."""
PAUSED_POLL_S = 0.02
"""How soon room is noticed. It doubles while there is none: a stage that takes minutes, or a broker that is away, is not
waited for with a CPU."""
START_S = 1.0
"""How long partitions may be started before the next poll: each is several calls to the broker and to the object store."""
IDLE_CHECK_S = 0.5
LAG_CHECK_S = 5.0
ADMIN_TIMEOUT_S = 1.0
REBUILD_PAUSE_S = 0.5
CONNECT_PAUSE_S = 1.5
"""How much longer to wait while nobody is there to connect to."""
CLOSE_TIMEOUT_S = 5.0


class Listener:
    """Tells the assignment what the group decided. Runs on the client's own thread."""

    def __init__(self, assignment: Assignment, metrics: WorkerMetrics) -> None:
        self._assignment = assignment
        self._metrics = metrics

    def assigned(self, partitions: Collection[Partition]) -> None:
        log.info("assigned %s", _listed(partitions))
        self._metrics.rebalance(RebalanceEvent.ASSIGNED)
        self._assignment.assigned(partitions)

    def revoking(self, partitions: Collection[Partition]) -> None:
        log.info("revoked %s: finishing what has begun", _listed(partitions))
        self._metrics.rebalance(RebalanceEvent.REVOKED)
        self._assignment.revoking(partitions)

    def revoke_settled(self, partitions: Collection[Partition]) -> bool:
        return self._assignment.revoke_settled(partitions)

    def lost(self, partitions: Collection[Partition]) -> None:
        log.warning("lost %s: the group took this worker for dead", _listed(partitions))
        self._metrics.rebalance(RebalanceEvent.LOST)
        self._assignment.lost(partitions)


class Poller:
    """Feeds the intake from the log."""

    def __init__(self, shared: Shared, intake: Intake, cluster: Cluster, connect: Callable[[], GroupConsumer]) -> None:
        self._settings = shared.settings
        self._assignment = shared.assignment
        self._commits = shared.commits
        self._delivery = shared.delivery
        self._marks = shared.marks
        self._health = shared.health
        self._metrics = shared.metrics
        self._intake = intake
        self._cluster = cluster
        self._connect = connect
        self._paused_poll_s = PAUSED_POLL_S
        self._unreadable: dict[Partition, str] = {}
        self._tried_at: dict[Partition, float] = {}
        self._next_idle_check = 0.0
        self._next_lag_check = 0.0
        self.consumer: GroupConsumer | None = None

    def run(self, stopping: threading.Event) -> None:
        """Poll until told to stop, then leave the consumer open: what has begun still has to be committed under it.

        Raises ConfigurationError, FencedError, or BrokerUnreachableError for one that stayed away beyond the patience.
        """
        patience = Deadline(self._settings.broker_patience_s)
        while not stopping.is_set():
            try:
                if self.consumer is None:
                    self._health.busy("poll")
                    self.consumer = self._connect()
                    self._health.resumed("start")
                self._turn(self.consumer)
                patience = Deadline(self._settings.broker_patience_s)
            except KafkaError as error:
                if isinstance(error, FencedInstanceIdError):
                    raise FencedError(
                        f"another process has joined the group under this worker's name: {error}"
                    ) from error
                if patience.expired:
                    raise patience_spent(self._settings, error) from error
                if self.consumer is None:
                    time.sleep(CONNECT_PAUSE_S)
                self._rebuild(error)

    def keep_alive(self) -> None:
        """Poll without taking anything, so that the membership holds while the last batch finishes."""
        if self.consumer is None:
            return
        try:
            self.consumer.pause(self.consumer.assignment())
            self.consumer.poll(PAUSED_POLL_S, max_records=1)
            # What goes elsewhere meanwhile does so in good order.
            self._marks.keep(self.consumer.assignment())
        except UnreadableError as error:
            log.warning("%s", error)
        except KafkaError as error:
            self._rebuild(error)

    def close(self) -> None:
        if self.consumer is not None:
            self.consumer.close(CLOSE_TIMEOUT_S)

    def _turn(self, consumer: GroupConsumer) -> None:
        self._health.busy("poll")
        self._take_up_unknown(consumer)
        self._start_partitions(consumer)
        room = self._room(consumer)
        with self._metrics.phase(WorkPhase.POLL):
            try:
                polled = consumer.poll(POLL_S if room else self._paused_poll_s, max_records=max(1, room))
            except UnreadableError as error:
                polled = []
                self._set_aside(error)
        self._paused_poll_s = PAUSED_POLL_S if room else min(POLL_S, 2 * self._paused_poll_s)
        for fetched in polled:
            # None: the ownership ended while the records were on their way; whoever owns the partition reads them again.
            epoch = self._assignment.fetched(fetched.partition, len(fetched.records))
            if epoch is not None:
                self._intake.put([Fetched(record, epoch) for record in fetched.records])
        self._step_over_markers(consumer)
        self._measure_lag(consumer)
        self._health.idle("poll")

    def _room(self, consumer: GroupConsumer) -> int:
        """How many records may come now, from partitions that are resumed for it.

        While records are suspected of having killed a predecessor only they come, one at a time, each when nothing else
        is in this process: whatever kills it then is known.
        """
        self._marks.keep(self._assignment.kept())
        active = self._readable(self._assignment.active())
        # Looked at before what is committed: what has been committed by now is then known to be.
        idle = self._assignment.outstanding() == 0
        suspected = self._marks.suspected(self._assignment.committed_offsets()).intersection(active)
        wanted = suspected or active
        room = self._intake.room() if not suspected else int(idle)
        consumer.pause(active if room == 0 else [partition for partition in active if partition not in wanted])
        if room:
            consumer.resume(wanted)
        return room

    def _set_aside(self, error: UnreadableError) -> None:
        """What is damaged stays so, and is no reason to stop the work on everything else."""
        log.error("%s; nothing more is read of this partition until it is assigned anew", error)
        self._unreadable[error.partition] = str(error)

    def _readable(self, active: Collection[Partition]) -> list[Partition]:
        self._unreadable = {partition: why for partition, why in self._unreadable.items() if partition in active}
        if self._unreadable:
            self._health.waiting("unreadable", "; ".join(self._unreadable.values()))
        else:
            self._health.resumed("unreadable")
        return [partition for partition in active if partition not in self._unreadable]

    def _take_up_unknown(self, consumer: GroupConsumer) -> None:
        """Rebalances happen inside polls, so what is owned here without an ownership was given up by another thread,
        and the client will not assign it again."""
        unknown = consumer.assignment() - self._assignment.partitions()
        if unknown:
            log.warning("owned, but given up meanwhile: starting anew with %s", _listed(unknown))
            consumer.pause(unknown)
            self._assignment.assigned(unknown)

    def _start_partitions(self, consumer: GroupConsumer) -> None:
        """Read what was committed, counters included, and go on from there. Nothing is carried over in memory.

        What can not be reached now, or has no time left before the next poll, is for the next turn, and comes last then: one
        partition that can not start must not keep the others from it.
        """
        if not self._commits.settled:
            return  # a new producer has to settle the open transaction before the committed offsets are the truth
        time_is_up = Deadline(START_S)
        for partition in sorted(self._assignment.starting(), key=lambda each: self._tried_at.get(each, 0.0)):
            epoch = self._assignment.start_epoch(partition)
            if epoch is None:
                continue
            self._health.busy("poll")
            self._tried_at[partition] = time.monotonic()
            consumer.pause([partition])
            try:
                self._start(consumer, partition, epoch)
            except (KafkaError, TransientError, BrokerUnreachableError) as error:
                self._health.waiting("partitions", f"{partition.topic}/{partition.index} can not start: {error}")
                break
            if time_is_up.expired:
                break
        if not self._assignment.starting():
            self._health.resumed("partitions")

    def _start(self, consumer: GroupConsumer, partition: Partition, epoch: int) -> None:
        self._cluster.check_partition(partition, epoch)
        progress, position = self._committed(consumer, partition)
        with self._health.at("shard", instead_of="poll"):
            self._delivery.complete(partition, progress.metadata)
        self._marks.adopt(partition, position, lambda: self._log_end(consumer, partition))
        if partition not in consumer.assignment():
            return
        consumer.seek(partition, position)
        self._unreadable.pop(partition, None)
        if self._assignment.started(partition, epoch, progress):
            consumer.resume([partition])

    def _log_end(self, consumer: GroupConsumer, partition: Partition) -> int:
        return consumer.end_offsets([partition], ADMIN_TIMEOUT_S)[partition]

    def _committed(self, consumer: GroupConsumer, partition: Partition) -> tuple[Progress, int]:
        """How far the group is, and the offset to go on from: that one, or the log's start where a gap is accepted. A commit
        moves the group over the gap then, even where nothing is left behind it."""
        committed = consumer.committed(partition, ADMIN_TIMEOUT_S)
        log_start = consumer.log_start(partition, ADMIN_TIMEOUT_S)
        if committed is None:
            self._require_unworked(partition, log_start)
            return Progress(0, OffsetMetadata()), log_start
        try:
            metadata = OffsetMetadata.decode(committed.metadata)
        except ValueError as error:
            raise ConfigurationError(
                f"{partition.topic}/{partition.index}: {error}: does another program use this consumer group?"
            ) from error
        log_end = self._log_end(consumer, partition)
        if committed.offset > log_end:
            raise ConfigurationError(
                f"{partition.topic}/{partition.index}: committed {committed.offset}, the log ends at {log_end}: the topic was "
                "made anew, or the broker lost its end; set the group to where it should go on (kafka-consumer-groups "
                "--reset-offsets)"
            )
        progress = Progress(committed.offset, metadata)
        if committed.offset >= log_start:
            return progress, committed.offset
        lost = log_start - committed.offset
        if not self._settings.accept_loss:
            raise ConfigurationError(
                f"{partition.topic}/{partition.index}: {lost} offsets expired unread: committed {committed.offset}, the "
                f"log starts at {log_start}; raise the topic's retention, then set runtime.accept_loss=true to go on"
            )
        log.error("%s/%d: going on without %d offsets that expired unread", partition.topic, partition.index, lost)
        return progress, log_start

    def _require_unworked(self, partition: Partition, log_start: int) -> None:
        """A group without an offset has never begun, or it is forgotten what it has done, and would be done again.

        Raises ConfigurationError for a log or outputs that say so, unless that is accepted.
        """
        if log_start > 0:
            found = (
                f"its log starts at {log_start}: what was before expired unread, or the broker has forgotten the group"
            )
        elif self._cluster.worked_on(partition):
            found = "outputs of it are there: the broker has forgotten the group, or the topic was made anew"
        else:
            return
        why = f"{partition.topic}/{partition.index}: nothing is committed, but {found} (offsets.retention.minutes)"
        if not self._settings.accept_loss:
            raise ConfigurationError(
                f"{why}; set the group to where it should go on (kafka-consumer-groups --reset-offsets), or "
                "runtime.accept_loss=true to begin at the log's start, also with what was done before"
            )
        log.error("%s; beginning at the log's start", why)

    def _step_over_markers(self, consumer: GroupConsumer) -> None:
        """Commit positions past transaction markers when nothing is in flight, so that lag reaches 0."""
        now = time.monotonic()
        if now < self._next_idle_check:
            return
        self._next_idle_check = now + IDLE_CHECK_S
        for partition, epoch, committed in self._assignment.quiet():
            position = consumer.position(partition)
            if position is not None and position > committed:
                self._commits.offer(IdleCommit(partition, epoch, position))

    def _measure_lag(self, consumer: GroupConsumer) -> None:
        self._metrics.in_flight(self._assignment.outstanding())
        now = time.monotonic()
        if now < self._next_lag_check:
            return
        self._next_lag_check = now + LAG_CHECK_S
        # Committed first, ends last: the other way round lag can be negative.
        committed = self._assignment.committed_offsets()
        try:
            ends = consumer.end_offsets(list(committed), ADMIN_TIMEOUT_S) if committed else {}
        except KafkaError as error:
            if not consumer.reachable():
                raise
            # A partition without a leader, or a slow broker, must not cost the work on everything else.
            log.warning("lag not measured: %s: %s", type(error).__name__, error)
            return
        self._metrics.lag({p.index: max(0, ends[p] - offset) for p, offset in committed.items() if p in ends})

    def _rebuild(self, error: KafkaError) -> None:
        """A consumer whose poll raised would spin for ever in the next one."""
        log.warning("the consumer failed, building a new one: %s: %s", type(error).__name__, error)
        self._health.idle("poll")
        self._health.waiting("start", f"joining the group again after {type(error).__name__}")
        self._assignment.lose_all()
        if self.consumer is not None:
            broken, self.consumer = self.consumer, None
            try:
                broken.close(1.0)
            except Exception as again:  # it is broken; whatever it says, a new one takes its place
                log.warning("closing the failed consumer: %s", again)
        time.sleep(REBUILD_PAUSE_S)


def _listed(partitions: Collection[Partition]) -> str:
    return ", ".join(f"{p.topic}/{p.index}" for p in sorted(partitions)) or "nothing"
