"""A member of a consumer group."""

from collections.abc import Callable, Collection, Generator
from typing import Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    CorruptRecordError,
    FencedInstanceIdError,
    KafkaError,
    UnknownTopicOrPartitionError,
    UnsupportedCodecError,
)
from kafka.net.selector import KernelEvent
from kafka.structs import MemberState

from common.kafka.client import (
    FETCH_MAX_BYTES,
    client_config,
    consumed,
    forbidden,
    partition_of,
    reachable,
    topic_partition,
)
from common.kafka.values import Committed, Fetched, Membership, Partition
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings

HEARTBEAT_MS = 500
"""At the default of 3 s a newcomer waits 4 to 6 s for its partitions, at 500 ms about 1 s (kafka.md, top)."""

MAX_POLL_INTERVAL_MS = 600_000
"""Only the poll thread has to keep it, and that never waits for work."""

DRAIN_POLL_S = 0.02
SILENT_POLLS = 10
"""Between a join and its first heartbeat one or two polls may see a stable member without heartbeats."""


class UnreadableError(Exception):
    """What a partition has from `offset` on is not what was written there. The partition is paused; the others go on."""

    def __init__(self, partition: Partition, offset: int, error: Exception) -> None:
        super().__init__(f"{partition.topic}/{partition.index} can not be read from offset {offset} on: {error}")
        self.partition = partition
        self.offset = offset


class RebalanceListener(Protocol):
    """Told of changes of the assignment, on the client's own thread: must not call the consumer, except to pause."""

    def assigned(self, partitions: Collection[Partition]) -> None: ...

    def revoking(self, partitions: Collection[Partition]) -> None: ...

    def revoke_settled(self, partitions: Collection[Partition]) -> bool:
        """Whether nothing of these partitions is in flight any more; asked again until it says so."""
        ...

    def lost(self, partitions: Collection[Partition]) -> None: ...


class GroupConsumer:
    """A static member of a consumer group, reading committed records of one topic. One thread may use it.

    `membership` alone may be called from any thread.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        group: str,
        instance: str,
        topic: str,
        session_timeout_s: float,
        listener: RebalanceListener,
    ) -> None:
        self._consumer = KafkaConsumer(
            group_id=group,
            group_instance_id=instance,
            client_id=instance,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            session_timeout_ms=int(session_timeout_s * 1_000),
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            fetch_max_bytes=FETCH_MAX_BYTES,
            metrics_enabled=False,
            **client_config(settings),
        )
        # A subscription before the metadata is there joins with an empty assignment and rebalances twice.
        if self._consumer.partitions_for_topic(topic) is None:
            self._consumer.close(autocommit=False, timeout_ms=1_000)
            # A worker has seen its topics at its start; a broker that has just come up does not know them yet.
            raise UnknownTopicOrPartitionError(f"the broker knows no topic {topic}")
        # A position that the log does not have (any more) is not to be replaced by one that it has: an error of the poll, and
        # then for the worker to judge. The client has a setting for that, but it is about the first position, too.
        self._consumer._subscription.has_default_offset_reset_policy = lambda: False
        self._settings = settings
        self._topic = topic
        self._silent_polls = 0
        self._listener = _ListenerAdapter(self._consumer, listener)
        self._consumer.subscribe([topic], listener=self._listener)

    def poll(self, timeout_s: float, max_records: int) -> list[Fetched]:
        """What has arrived. After an exception other than UnreadableError the consumer must never be polled again: close it
        and build another."""
        self._take_up_parked()
        self._raise_put_off()
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout_s * 1_000), max_records=max_records)
        except CorruptRecordError as error:
            self._raise_unreadable(error)
            raise
        except AuthorizationError as error:
            raise forbidden(self._settings, error) from error
        except UnsupportedCodecError as error:
            raise ConfigurationError(
                f"topic {self._topic} has compressed records that can not be read here: {error}; install what reads them "
                "(pip install 'kafka-python[lz4,snappy,zstd]'), or have its producers use gzip"
            ) from error
        self._revive_forgotten_join()
        self._raise_fencing()
        if self._listener.renewed():
            return []  # from positions that are void
        fetched = []
        for tp, records in polled.items():
            partition = partition_of(tp)
            fetched.append(Fetched(partition, [consumed(partition, record) for record in records]))
        return fetched

    def _take_up_parked(self) -> None:
        """The client parks the rest of a fetch when its partition is paused in the middle of it, and after a resume looks
        for it only while no other partition's fetch is in its hands, which one that is empty is for ever: the parked one
        would neither be given out nor fetched again. The client has no public call for that.
        """
        fetcher = self._consumer._fetcher
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None

    def _raise_put_off(self) -> None:
        """The client puts an error off that comes behind records, and forgets it where its partition is paused by then: it
        would read on behind the error without an end.
        """
        put_off = self._consumer._fetcher._next_in_line_exception_metadata
        if put_off is not None and isinstance(put_off.exception, CorruptRecordError):
            self._consumer._fetcher._next_in_line_exception_metadata = None
            self._raise_unreadable(put_off.exception)

    def _raise_unreadable(self, error: CorruptRecordError) -> None:
        """Take the fetch with the error out of the client's hands: it would ask it again and again. The client does not say
        whose it is in any other way. Raises UnreadableError, or returns where the broker itself has refused to read.
        """
        fetcher = self._consumer._fetcher
        broken, fetcher._next_partition_records = fetcher._next_partition_records, None
        if not broken:
            return
        broken.drain()
        partition = partition_of(broken.topic_partition)
        self.pause([partition])
        raise UnreadableError(partition, broken.next_fetch_offset, error) from error

    def _raise_fencing(self) -> None:
        """A member whose name another process has taken learns it from a heartbeat, and the client then only stops sending
        any: it would own its partitions for ever. Raises FencedInstanceIdError.
        """
        coordinator = self._consumer._coordinator
        self._silent_polls = (
            self._silent_polls + 1 if coordinator.stable() and not coordinator._heartbeat_enabled else 0
        )
        if self._silent_polls > SILENT_POLLS:
            raise FencedInstanceIdError("its heartbeats were refused")

    def _revive_forgotten_join(self) -> None:
        """A join that changed metadata asked for, and that outlasted the poll which began it, is never looked at again:
        the member stays in a rebalance without heartbeats until it is evicted. Asking for a join makes the next poll pick
        it up. The client has no public call for that.
        """
        coordinator = self._consumer._coordinator
        if coordinator.rebalance_in_progress() and not coordinator.need_rejoin():
            coordinator.request_rejoin()

    def position(self, partition: Partition) -> int | None:
        """The next offset to be fetched; it passes transaction markers. None when the partition is not owned now."""
        try:
            position: int | None = self._consumer.position(topic_partition(partition), timeout_ms=200)
        except KafkaError:
            return None
        return position

    def committed(self, partition: Partition, timeout_s: float) -> Committed | None:
        """The group's committed offset. Raises KafkaError when it can not be told within `timeout_s`."""
        found = self._consumer.committed(topic_partition(partition), metadata=True, timeout_ms=int(timeout_s * 1_000))
        return None if found is None else Committed(found.offset, found.metadata or "")

    def log_start(self, partition: Partition, timeout_s: float) -> int:
        """The first offset that the log still has."""
        tp = topic_partition(partition)
        offset: int = self._consumer.beginning_offsets([tp], timeout_ms=int(timeout_s * 1_000))[tp]
        return offset

    def seek(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(topic_partition(partition), offset)

    def end_offsets(self, partitions: Collection[Partition], timeout_s: float) -> dict[Partition, int]:
        """The last stable offset of each: what a reader of committed records can reach."""
        found = self._consumer.end_offsets(
            [topic_partition(partition) for partition in partitions], timeout_ms=int(timeout_s * 1_000)
        )
        return {partition_of(tp): offset for tp, offset in found.items()}

    def reachable(self) -> bool:
        """Whether anybody listens where the broker should be."""
        return reachable(self._settings)

    def assignment(self) -> set[Partition]:
        return {partition_of(tp) for tp in self._consumer.assignment()}

    def pause(self, partitions: Collection[Partition]) -> None:
        """Stop fetching; partitions that are not owned any more are left out."""
        _on_owned(self._consumer, partitions, self._consumer.pause)

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch again; partitions that are not owned any more are left out."""
        _on_owned(self._consumer, partitions, self._consumer.resume)

    def membership(self) -> Membership:
        metadata = self._consumer.group_metadata()
        return Membership(
            generation=metadata.generation_id,
            member_id=metadata.member_id or "",
            stable=metadata.state == MemberState.STABLE and metadata.member_id == self._listener.member_id,
            client_metadata=metadata,
        )

    def close(self, timeout_s: float) -> None:
        self._consumer.close(autocommit=False, timeout_ms=int(timeout_s * 1_000))


class _ListenerAdapter(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Lets a listener wait for work in flight inside a revoke while heartbeats go on.

    A member that is evicted while it joins comes back under another id, and the client does not say that anything was
    lost: it finds its old partitions in the new assignment and takes them for kept, although others may have worked on
    them meanwhile. So the id under which partitions were given is remembered, and with another id they are given anew.
    """

    def __init__(self, consumer: KafkaConsumer, listener: RebalanceListener) -> None:
        self._consumer = consumer
        self._listener = listener
        self.member_id = ""
        """The membership that what is owned was given to."""

    def renewed(self) -> bool:
        """Whether this is another membership than before; everything that it owns is then lost, and assigned."""
        metadata = self._consumer.group_metadata()
        if metadata.state != MemberState.STABLE or metadata.member_id in {"", self.member_id}:
            return False
        before, self.member_id = self.member_id, metadata.member_id
        kept = self._consumer.assignment()
        if not before or not kept:
            return False
        self._consumer.pause(*kept)
        self._listener.lost([partition_of(tp) for tp in kept])
        self._listener.assigned([partition_of(tp) for tp in kept])
        return True

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.renewed()
        # Nothing may be fetched before the committed counters have been read; paused here, they are resumed by the
        # poll thread.
        self._consumer.pause(*assigned)
        self._listener.assigned([partition_of(tp) for tp in assigned])

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        partitions = [partition_of(tp) for tp in revoked]
        if self._consumer.group_metadata().member_id != self.member_id:
            self._listener.lost(partitions)
            self.renewed()
            return
        self._listener.revoking(partitions)
        while not self._listener.revoke_settled(partitions):
            await _LoopSleep(DRAIN_POLL_S)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        self.member_id = ""
        self._listener.lost([partition_of(tp) for tp in lost])


class _LoopSleep:
    """Suspends a coroutine of the client's own event loop, which has no public timer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[KernelEvent, None, None]:
        yield KernelEvent("_sleep", self._seconds)


def _on_owned(consumer: KafkaConsumer, partitions: Collection[Partition], action: Callable[..., None]) -> None:
    owned = consumer.assignment()
    wanted = [tp for partition in partitions if (tp := topic_partition(partition)) in owned]
    if wanted:
        action(*wanted)
