"""The only module that knows kafka-python. Everything else speaks the value types below.

What the client does that its documentation does not say is in kafka.md; the rules that follow from it stand where they
are kept: no deserialisers (an exception from one makes the next poll spin for ever), no plain commits (they race
transactions), no reuse of a producer after a failed transaction (it would send the refused offsets again).
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, Protocol, TypeVar, cast

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove, OffsetSpec
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    CorruptRecordError,
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    InvalidProducerEpochError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    RequestTimedOutError,
    RetriableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import KernelEvent, NetworkSelector
from kafka.producer.transaction_manager import TransactionState
from kafka.protocol.consumer import IsolationLevel
from kafka.record import memory_records
from kafka.record.default_records import ControlRecord, DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint
from kafka.structs import MemberState
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from common.refusals import Refusal, Step
from common.runtime.deadline import Deadline
from common.runtime.errors import BrokerUnreachableError, ConfigurationError
from common.settings import KafkaSettings
from schemas.topics import MAX_DEAD_LETTER_BYTES

__all__ = [
    "Admin",
    "CommitFailedError",
    "Committed",
    "ConsumedRecord",
    "FencedInstanceIdError",
    "Fetched",
    "GroupConsumer",
    "KafkaError",
    "Membership",
    "Message",
    "Partition",
    "ProducerFencedError",
    "RebalanceListener",
    "TopicConfig",
    "TransactionalProducer",
    "greet",
    "read_to_end",
]

AdminMethod = TypeVar("AdminMethod", bound=Callable[..., Any])

HEARTBEAT_MS = 500
"""At the default of 3 s a newcomer waits 4 to 6 s for its partitions, at 500 ms about 1 s (kafka.md, top)."""

MAX_POLL_INTERVAL_MS = 600_000
"""Only the poll thread has to keep it, and that never waits for work."""

PRODUCER_BATCH_BYTES = 262_144
"""Doubles the rate of transactional sends against the default of 16 kB (kafka.md 4)."""

LINGER_MS = 100
"""Longer than the sends of one transaction take, which then leave in few requests; its commit waits for nothing."""

FETCH_MAX_BYTES = 8 * 1024 * 1024
"""Records are references, so a small fetch holds many."""

REQUEST_TIMEOUT_MS = 10_000
BACKOFF_MAX_MS = 2_000
DRAIN_POLL_S = 0.02
GIVE_UP_CHECK_MS = 200
SILENT_POLLS = 10
"""Between a join and its first heartbeat one or two polls may see a stable member without heartbeats."""

GREETINGS = 2
"""How often a broker has to hang up before that counts as its answer."""
GREETING_PAUSE_S = 1.0
GREETING_TIMEOUT_S = 10.0

BATCH_OVERHEAD_BYTES = 128
"""More than the 61 bytes of a batch and the at most 36 of a record around key, value and headers (format version 2)."""
VARINT_BYTES = 5


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a topic, by its full name."""

    topic: str
    index: int


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """A record as it lies in the log. `timestamp` is in seconds since the epoch."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition, in order."""

    partition: Partition
    records: Sequence[ConsumedRecord]


@dataclass(frozen=True, slots=True)
class Message:
    """A record to write. Without `partition` the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    partition: int | None = None

    @property
    def size(self) -> int:
        """At least the bytes that the record takes, alone in its batch: what `max.message.bytes` is compared with."""
        headers = sum(len(name.encode()) + len(value) + 2 * VARINT_BYTES for name, value in self.headers)
        return BATCH_OVERHEAD_BYTES + len(self.key or b"") + len(self.value or b"") + headers


@dataclass(frozen=True, slots=True)
class Committed:
    """A group's offset of a partition, with the metadata string that was committed with it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Membership:
    """A consumer's standing in its group at one moment; `lost` means that no transaction may carry it.

    An evicted member's metadata is (generation -1, no member id), and a broker accepts that in a transaction: it would
    rewind the new owner's offsets (kafka.md, top).
    """

    generation: int
    member_id: str
    stable: bool
    client_metadata: Any

    @property
    def lost(self) -> bool:
        return self.generation < 0 or not self.member_id or not self.stable


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """What consumer, producer and admin client have in common."""
    config: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
        "reconnect_backoff_max_ms": BACKOFF_MAX_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "bootstrap_timeout_ms": REQUEST_TIMEOUT_MS,
        "ssl_check_hostname": settings.ssl_check_hostname,
    }
    optional: dict[str, Any] = {
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_plain_username,
        "sasl_plain_password": settings.sasl_plain_password and settings.sasl_plain_password.get_secret_value(),
        "ssl_cafile": settings.ssl_cafile and str(settings.ssl_cafile),
        "ssl_certfile": settings.ssl_certfile and str(settings.ssl_certfile),
        "ssl_keyfile": settings.ssl_keyfile and str(settings.ssl_keyfile),
    }
    return config | {name: value for name, value in optional.items() if value is not None}


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
        self._settings = settings
        self._topic = topic
        self._silent_polls = 0
        self._listener = _ListenerAdapter(self._consumer, listener)
        self._consumer.subscribe([topic], listener=self._listener)

    def poll(self, timeout_s: float, max_records: int) -> list[Fetched]:
        """What has arrived. After an exception the consumer must never be polled again: close it and build another."""
        self._take_up_parked()
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout_s * 1_000), max_records=max_records)
        except AuthorizationError as error:
            raise _forbidden(self._settings, error) from error
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
            partition = _partition(tp)
            fetched.append(Fetched(partition, [_consumed(partition, record) for record in records]))
        return fetched

    def _take_up_parked(self) -> None:
        """The client parks the rest of a fetch when its partition is paused in the middle of it, and after a resume looks
        for it only while no other partition's fetch is in its hands, which one that is empty is for ever: the parked one
        would neither be given out nor fetched again. The client has no public call for that.
        """
        fetcher = self._consumer._fetcher
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None

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
            position: int | None = self._consumer.position(_topic_partition(partition), timeout_ms=200)
        except KafkaError:
            return None
        return position

    def committed(self, partition: Partition, timeout_s: float) -> Committed | None:
        """The group's committed offset. Raises KafkaError when it can not be told within `timeout_s`."""
        found = self._consumer.committed(_topic_partition(partition), metadata=True, timeout_ms=int(timeout_s * 1_000))
        return None if found is None else Committed(found.offset, found.metadata or "")

    def log_start(self, partition: Partition, timeout_s: float) -> int:
        """The first offset that the log still has."""
        tp = _topic_partition(partition)
        offset: int = self._consumer.beginning_offsets([tp], timeout_ms=int(timeout_s * 1_000))[tp]
        return offset

    def seek(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(_topic_partition(partition), offset)

    def end_offsets(self, partitions: Collection[Partition], timeout_s: float) -> dict[Partition, int]:
        """The last stable offset of each: what a reader of committed records can reach."""
        found = self._consumer.end_offsets(
            [_topic_partition(partition) for partition in partitions], timeout_ms=int(timeout_s * 1_000)
        )
        return {_partition(tp): offset for tp, offset in found.items()}

    def reachable(self) -> bool:
        """Whether anybody listens where the broker should be."""
        return reachable(self._settings)

    def assignment(self) -> set[Partition]:
        return {_partition(tp) for tp in self._consumer.assignment()}

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
        self._listener.lost([_partition(tp) for tp in kept])
        self._listener.assigned([_partition(tp) for tp in kept])
        return True

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.renewed()
        # Nothing may be fetched before the committed counters have been read; paused here, they are resumed by the
        # poll thread.
        self._consumer.pause(*assigned)
        self._listener.assigned([_partition(tp) for tp in assigned])

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        partitions = [_partition(tp) for tp in revoked]
        if self._consumer.group_metadata().member_id != self.member_id:
            self._listener.lost(partitions)
            self.renewed()
            return
        self._listener.revoking(partitions)
        while not self._listener.revoke_settled(partitions):
            await _LoopSleep(DRAIN_POLL_S)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        self.member_id = ""
        self._listener.lost([_partition(tp) for tp in lost])


class _LoopSleep:
    """Suspends a coroutine of the client's own event loop, which has no public timer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[KernelEvent, None, None]:
        yield KernelEvent("_sleep", self._seconds)


class TransactionalProducer:
    """A producer with one transactional id. One thread may use it; after any failure it has to be closed.

    The calls of a transaction have no time-out of their own: whoever makes them watches them, and may `give_up` on them.
    """

    def __init__(self, settings: KafkaSettings, transactional_id: str, transaction_timeout_s: float) -> None:
        self._producer = KafkaProducer(
            transactional_id=transactional_id,
            client_id=transactional_id,
            transaction_timeout_ms=int(transaction_timeout_s * 1_000),
            acks="all",
            batch_size=PRODUCER_BATCH_BYTES,
            linger_ms=LINGER_MS,
            max_request_size=MAX_DEAD_LETTER_BYTES,
            max_block_ms=REQUEST_TIMEOUT_MS,
            delivery_timeout_ms=2 * REQUEST_TIMEOUT_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **client_config(settings),
        )
        self._pending: list[Any] = []
        self._settings = settings
        self._given_up = threading.Event()
        try:
            # Fences a predecessor with the same id and settles what it left open.
            self._producer.init_transactions()
        except AuthorizationError as error:
            self._producer.close(timeout=1)
            raise _forbidden(settings, error, f"WRITE transactional id {transactional_id}") from error
        except BaseException:
            self._producer.close(timeout=1)
            raise

    def begin(self) -> None:
        self._pending = []
        self._producer.begin_transaction()

    def send(self, message: Message) -> None:
        """Raises KafkaError or ValueError for a record that can not be sent; the transaction must then be aborted."""
        with self._fencing_told():
            self._pending.append(
                self._producer.send(
                    message.topic,
                    key=message.key,
                    value=message.value,
                    headers=list(message.headers),
                    partition=message.partition,
                )
            )

    def send_offsets(self, offsets: Mapping[Partition, Committed], membership: Membership) -> None:
        """Raises CommitFailedError when the member was evicted meanwhile."""
        self._send_offsets(offsets, membership.client_metadata)

    def send_offsets_of(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Offsets of a group that has no members: only the owner of this transactional id may commit for it."""
        self._send_offsets({partition: Committed(offset, "") for partition, offset in offsets.items()}, group)

    def _send_offsets(self, offsets: Mapping[Partition, Committed], group: Any) -> None:
        """`group` as the client takes it: by its name, or with who this member is in it."""
        marked = {
            _topic_partition(partition): OffsetAndMetadata(committed.offset, committed.metadata, -1)
            for partition, committed in offsets.items()
        }
        with self._fencing_told():
            self._await(self._producer._transaction_manager.send_offsets_to_transaction(marked, group))

    def commit(self) -> None:
        """Raises KafkaError; whether the transaction took effect is then known only to the committed offsets.

        Raises ProducerFencedError where another producer has taken the transactional id.
        """
        with self._fencing_told():
            # Left to itself the client begins a flush at the first commit and never ends it: from then on every record
            # counts as due at once, whatever the linger.
            self._producer.flush()
            self._raise_refusal()
            self._await(self._producer._transaction_manager.begin_commit())
            self._raise_refusal()
        self._pending = []

    def abort(self) -> None:
        self._producer.abort_transaction()

    def give_up(self) -> None:
        """From any thread: a call that waits for the broker's answer raises KafkaTimeoutError."""
        self._given_up.set()

    def _await(self, result: Any) -> None:
        """What the client's own calls do with a request, which wait for ever: where the broker went away with the request
        the client may never send it again."""
        self._producer._sender.wakeup()
        while not result.wait(timeout_ms=GIVE_UP_CHECK_MS):
            if self._given_up.is_set():
                raise KafkaTimeoutError("the broker is there again and the request was never answered")

    @contextmanager
    def _fencing_told(self) -> Iterator[None]:
        """A client that has learned that it was fenced says of every call since only that something went wrong before.

        An epoch that is not valid any more is the same news, on the way of a record.
        """
        try:
            yield
        except KafkaError as error:
            known = (error, self._settled_error())
            if any(isinstance(one, ProducerFencedError | InvalidProducerEpochError) for one in known):
                raise ProducerFencedError(f"fenced: {error}") from error
            raise

    def _settled_error(self) -> BaseException | None:
        """What the client knows to be wrong. While it asks for a new epoch, as it does where its own is refused, the broker
        is yet to say whether somebody else has the id."""
        manager = self._producer._transaction_manager
        deadline = Deadline(REQUEST_TIMEOUT_MS / 1_000)
        while manager._current_state is TransactionState.BUMPING_PRODUCER_EPOCH and not deadline.expired:
            time.sleep(DRAIN_POLL_S)
        error: BaseException | None = manager.last_error
        return error

    def _raise_refusal(self) -> None:
        """Raises the error that the first record which was refused was refused with."""
        for sent in self._pending:
            if sent.failed():
                if isinstance(sent.exception, AuthorizationError):
                    raise _forbidden(self._settings, sent.exception) from sent.exception
                raise sent.exception

    def close(self, timeout_s: float = 1.0) -> None:
        self._producer.close(timeout=timeout_s)


def _told_of_rights(method: AdminMethod) -> AdminMethod:
    """What the access lists do not allow is a ConfigurationError."""

    @wraps(method)
    def guarded(admin: "Admin", *arguments: Any, **named: Any) -> Any:
        try:
            return method(admin, *arguments, **named)
        except AuthorizationError as error:
            raise _forbidden(admin.settings, error) from error

    return cast(AdminMethod, guarded)


def _again_while_settling(method: AdminMethod) -> AdminMethod:
    """A coordinator that is still loading, or being elected, answers with an error that passes by itself."""
    again = retry(
        retry=retry_if_exception_type(RetriableError),
        stop=stop_after_delay(REQUEST_TIMEOUT_MS / 1_000),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    return _told_of_rights(cast(AdminMethod, again(method)))


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic as it is, or as it should be, on the cluster."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


class Admin:
    """What operators' commands and workers ask of the cluster. Close it after use (it is a context manager)."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises ConfigurationError naming the setting that the cluster refuses, BrokerUnreachableError where nobody is."""
        greet(settings)
        self.settings = settings
        try:
            self._admin = KafkaAdminClient(client_id="imgdiff-admin", **client_config(settings))
        except (KafkaTimeoutError, KafkaConnectionError) as error:
            raise _no_answer(settings) from error

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._admin.close()

    @_again_while_settling
    def require_rights(self, topics: Mapping[str, str], group: str) -> None:
        """Raises ConfigurationError unless this user may do with each topic what is given for it (READ or WRITE), and read
        in the group. A cluster without access lists allows everything."""
        missing = []
        for topic in self._describe_topics(sorted(topics)):
            operation, allowed = topics[topic["name"]], topic["authorized_operations"]
            unseen = topic["error_code"] == TopicAuthorizationFailedError.errno
            if unseen or (allowed is not None and operation not in allowed):
                missing.append(f"{operation} topic {topic['name']}")
        try:
            described = self._admin.describe_groups([group])[group]["authorized_operations"]
            readable = described is None or "READ" in described
        except GroupAuthorizationFailedError:
            readable = False
        if not readable:
            missing.append(f"READ group {group}")
        if missing:
            raise _forbidden(self.settings, what=", ".join(missing))

    def partition_counts(self, needed: Collection[str] = ()) -> dict[str, int]:
        """All topics of the cluster with their number of partitions.

        Raises ConfigurationError where one that is needed may not be seen, which else looks as if it did not exist.
        """
        counts = {topic["name"]: len(topic["partitions"]) for topic in self._describe_topics(None)}
        unseen = sorted(set(needed) - set(counts))
        hidden = [
            f"DESCRIBE topic {topic['name']}"
            for topic in (self._describe_topics(unseen) if unseen else ())
            if topic["error_code"] == TopicAuthorizationFailedError.errno
        ]
        if hidden:
            raise _forbidden(self.settings, what=", ".join(hidden))
        return counts

    @_again_while_settling
    def topics(self, names: Collection[str], config_names: Collection[str]) -> dict[str, TopicConfig]:
        """Those of `names` that exist, with the values of these settings."""
        existing = [topic for topic in self._describe_topics(None) if topic["name"] in names]
        if not existing:
            return {}
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic["name"], configs=dict.fromkeys(config_names))
            for topic in existing
        ]
        described = self._admin.describe_configs(resources, config_filter="all")
        by_topic = next(iter(described.values()))
        return {
            topic["name"]: TopicConfig(
                name=topic["name"],
                partitions=len(topic["partitions"]),
                replication_factor=len(topic["partitions"][0]["replica_nodes"]),
                configs={
                    key: str(data["value"]) for key, data in by_topic[topic["name"]].items() if key in config_names
                },
            )
            for topic in existing
        }

    @_told_of_rights
    def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Raises KafkaError where one exists already."""
        if not topics:
            return
        self._admin.create_topics(
            {
                topic.name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": topic.replication_factor,
                    "configs": dict(topic.configs),
                }
                for topic in topics
            },
            timeout_ms=30_000,
            wait_for_metadata=True,
        )

    @_told_of_rights
    def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics and all that is in them."""
        if names:
            self._admin.delete_topics(list(names), timeout_ms=30_000)

    @_again_while_settling
    def groups(self) -> list[str]:
        """All consumer groups of the cluster, those among them that hold nothing but offsets."""
        return [group["group_id"] for group in self._admin.list_groups()]

    @_again_while_settling
    def delete_groups(self, groups: Sequence[str]) -> None:
        """Delete groups without members, with their offsets; groups that do not exist are left out."""
        known = {group for group in groups if self.group_offsets([group])[group]}
        if known:
            self._admin.delete_groups(sorted(known))

    @_again_while_settling
    def group_offsets(self, groups: Sequence[str]) -> dict[str, dict[Partition, Committed]]:
        """The committed offsets of each group with their metadata, in one request."""
        found = self._admin.list_group_offsets(dict.fromkeys(groups))
        return {
            group: {
                _partition(tp): Committed(committed.offset, committed.metadata or "")
                for tp, committed in found.get(group, {}).items()
                if committed.offset >= 0
            }
            for group in groups
        }

    @_again_while_settling
    def member_counts(self, groups: Sequence[str]) -> dict[str, int]:
        """The number of members of each group; 0 for a group that does not exist."""
        described = self._admin.describe_groups(list(groups))
        return {group: len(described.get(group, {}).get("members") or []) for group in groups}

    @_again_while_settling
    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The last stable offset of each: what a reader of committed records can reach."""
        return self._list_offsets(partitions, OffsetSpec.LATEST)

    @_again_while_settling
    def log_ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The end of each log, what belongs to open transactions included."""
        return self._list_offsets(partitions, OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED)

    @_again_while_settling
    def log_starts(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The first offset that each log still has."""
        return self._list_offsets(partitions, OffsetSpec.EARLIEST)

    @_again_while_settling
    def delete_records(self, before: Mapping[Partition, int]) -> None:
        """Delete what lies before these offsets, for good."""
        if before:
            self._admin.delete_records({_topic_partition(partition): offset for partition, offset in before.items()})

    @_again_while_settling
    def remove_member(self, group: str, instance: str) -> None:
        """End a static membership at once, so that nobody waits for its session to run out."""
        self._admin.remove_group_members(group, [MemberToRemove(group_instance_id=instance, reason="worker left")])

    def broker_config(self, name: str) -> str | None:
        """A setting of the broker that answers, or None where it may not be read."""
        try:
            nodes = self._admin.describe_cluster()["brokers"]
            node = str(nodes[0]["broker_id"])
            described = self._admin.describe_configs(
                [ConfigResource(ConfigResourceType.BROKER, node, configs={name: None})], config_filter="all"
            )
        except KafkaError:
            return None
        values: dict[str, Any] = next(iter(described.values())).get(node, {})
        return str(values[name]["value"]) if name in values else None

    def _describe_topics(self, names: Sequence[str] | None) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = self._admin.describe_topics(names)
        return described

    def _list_offsets(
        self,
        partitions: Collection[Partition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        if not partitions:
            return {}
        found = self._admin.list_partition_offsets(
            {_topic_partition(partition): spec for partition in partitions}, isolation_level=isolation
        )
        return {_partition(tp): offset.offset for tp, offset in found.items()}


def read_to_end(
    settings: KafkaSettings,
    topics: Sequence[str],
    *,
    committed_only: bool = True,
    silence_s: float = 30.0,
    start: Mapping[Partition, int] | None = None,
    ends: Mapping[Partition, int] | None = None,
    behind_open: bool = False,
) -> Iterator[ConsumedRecord]:
    """The records of whole topics up to where they end now, topic by topic as given, partition by partition in offset
    order.

    Belongs to no group. `start` gives offsets to begin at, else the log's start; `ends` gives offsets to end before,
    else the log's end. Records that were committed behind a transaction that is still open are left out, unless
    `behind_open` asks to wait for its end. Raises KafkaTimeoutError when nothing comes for `silence_s` although the end
    was not reached.
    """
    greet(settings)
    consumer = KafkaConsumer(
        enable_auto_commit=False,
        isolation_level="read_committed" if committed_only else "read_uncommitted",
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        fetch_max_bytes=FETCH_MAX_BYTES,
        metrics_enabled=False,
        **client_config(settings),
    )
    try:
        for topic in topics:
            indexes = consumer.partitions_for_topic(topic)
            if not indexes:
                unseen = "" if settings.sasl_plain_username is None else f", or {_user(settings)} may not read it"
                raise ConfigurationError(
                    f"topic {topic} does not exist{unseen}: create the topics with `imgdiff topics create`"
                )
            partitions = [Partition(topic, index) for index in sorted(indexes)]
            # Asked for all at once: most partitions are empty, and each question is a way to the broker and back.
            begins = consumer.beginning_offsets([_topic_partition(partition) for partition in partitions])
            last = _log_ends(settings, partitions) if behind_open else _stable_ends(consumer, partitions)
            for partition in partitions:
                first = begins[_topic_partition(partition)]
                begin = max(first, (start or {}).get(partition, first))
                end = min(last[partition], (ends or last).get(partition, last[partition]))
                if begin < end:
                    yield from _read_partition(consumer, partition, silence_s, begin, end)
    except AuthorizationError as error:
        raise _forbidden(settings, error) from error
    finally:
        consumer.close(autocommit=False, timeout_ms=2_000)


def _log_ends(settings: KafkaSettings, partitions: Collection[Partition]) -> dict[Partition, int]:
    with Admin(settings) as admin:
        return admin.log_ends(partitions)


def _stable_ends(consumer: KafkaConsumer, partitions: Collection[Partition]) -> dict[Partition, int]:
    found = consumer.end_offsets([_topic_partition(partition) for partition in partitions])
    return {_partition(tp): offset for tp, offset in found.items()}


def _read_partition(
    consumer: KafkaConsumer, partition: Partition, silence_s: float, position: int, end: int
) -> Iterator[ConsumedRecord]:
    tp = _topic_partition(partition)
    consumer.assign([tp])
    consumer.seek(tp, position)
    silent_since = time.monotonic()
    while position < end:
        polled = consumer.poll(timeout_ms=500, max_records=1_000)
        for record in polled.get(tp, ()):
            if record.offset >= end:
                return
            yield _consumed(partition, record)
        reached = consumer.position(tp)
        if reached is not None and reached > position:
            position = reached
            silent_since = time.monotonic()
        elif time.monotonic() - silent_since > silence_s:
            raise KafkaTimeoutError(
                f"{partition.topic}/{partition.index}: nothing after offset {position} of {end} for {silence_s:.0f} s"
            )


def reachable(settings: KafkaSettings) -> bool:
    """Whether anybody listens at one of the bootstrap servers."""
    return any(_listens(server) for server in settings.bootstrap_servers.split(","))


def require_listener(settings: KafkaSettings) -> None:
    """Look before a consumer or producer is built: one that finds nobody says so after 10 s, and leaves a thread behind.
    Raises KafkaConnectionError."""
    if not reachable(settings):
        raise KafkaConnectionError(f"nobody listens at {settings.bootstrap_servers}")


def _listens(server: str, timeout_s: float = 1.0) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except (OSError, ValueError):
        return False
    return True


def greet(settings: KafkaSettings) -> None:
    """Connect, log in and ask a first question, as every client does at its start, so that a refusal is told as such.

    Raises ConfigurationError naming the setting that is refused, BrokerUnreachableError where nobody answers.
    """
    _check_files(settings)
    servers = [server for server in map(str.strip, settings.bootstrap_servers.split(",")) if _listens(server)]
    refusals: list[Refusal] = []
    for _ in range(GREETINGS if servers else 0):
        refusals = []
        for server in servers:
            refusal = _refusal(settings, server)
            if refusal is None:
                return
            if refusal.final:
                raise refusal.explained(settings) from refusal.error
            silent = isinstance(refusal.error, KafkaTimeoutError | RequestTimedOutError)
            if not silent:  # who says nothing refuses nothing
                refusals.append(refusal)
        if not refusals:
            break
        time.sleep(GREETING_PAUSE_S)
    for refusal in refusals:
        if refusal.answered or _speaks_otherwise(settings, refusal.server):
            raise refusal.explained(settings) from refusal.error
    raise _no_answer(settings)


def _speaks_otherwise(settings: KafkaSettings, server: str) -> bool:
    """Whether a listener that hangs up would answer with TLS where the settings have none, or without it."""
    encrypted = settings.security_protocol in {"SSL", "SASL_SSL"}
    found = _refusal(KafkaSettings(security_protocol="PLAINTEXT" if encrypted else "SSL"), server)
    return found is None or found.answered


def _refusal(settings: KafkaSettings, server: str) -> Refusal | None:
    """How one connection to this server ends; None when it is there to be used."""
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, **(client_config(settings) | {"bootstrap_servers": [server]}))
    node = manager.cluster.bootstrap_brokers()[0].node_id
    connection: KafkaConnection = manager.get_connection(
        node, timeout_ms=GREETING_TIMEOUT_S * 1_000, pop_on_close=False, refresh_metadata_on_err=False
    )

    async def use() -> None:
        await manager.wait_for(connection.init_future, GREETING_TIMEOUT_S * 1_000)
        await manager.wait_for(manager.call_soon(manager.cluster.refresh_metadata, node), GREETING_TIMEOUT_S * 1_000)

    try:
        manager.run(use)
    except (KafkaError, OSError) as error:
        return Refusal(server, _step(connection, error), error)
    finally:
        manager.close()
        net.close()
    return None


def _step(connection: KafkaConnection, error: BaseException) -> Step:
    """How far a connection came that ended with this error."""
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return Step.MECHANISM
    if connection.broker_version_data is None:
        return Step.CONNECT
    return Step.USE if connection.init_future.succeeded() else Step.LOGIN


def _check_files(settings: KafkaSettings) -> None:
    """The client would say of a certificate that can not be read only that no broker answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name, file = "ssl_cafile", settings.ssl_cafile
    try:
        if settings.ssl_cafile is not None:
            context.load_verify_locations(settings.ssl_cafile)
        if settings.ssl_certfile is not None:
            name, file = "ssl_certfile", settings.ssl_certfile
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password=lambda: "")
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"setting `kafka.{name}`: {file}: no PEM file of what it has to be: {error.reason or error}"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"setting `kafka.{name}`: {file}: {error.strerror or error}") from error


def _forbidden(
    settings: KafkaSettings, error: AuthorizationError | None = None, what: str | None = None
) -> ConfigurationError:
    """What the access lists of the cluster do not allow, in one line."""
    found = what or f"do this ({'' if error is None else error.message})"
    return ConfigurationError(f"{_user(settings)} may not {found}; what each part needs is in docs/security.md")


def _user(settings: KafkaSettings) -> str:
    name = settings.sasl_plain_username
    return "this client" if name is None else f"user {name!r} (setting `kafka.sasl_plain_username`)"


def _no_answer(settings: KafkaSettings) -> BrokerUnreachableError:
    if reachable(settings):
        return BrokerUnreachableError(
            f"{settings.bootstrap_servers} (setting `kafka.bootstrap_servers`) does not answer as a Kafka broker within "
            f"{GREETING_TIMEOUT_S:.0f} s"
        )
    return BrokerUnreachableError(
        f"no Kafka broker listens at {settings.bootstrap_servers} (setting `kafka.bootstrap_servers`); "
        "a local one is started by `imgdiff broker start`"
    )


def _on_owned(consumer: KafkaConsumer, partitions: Collection[Partition], action: Callable[..., None]) -> None:
    owned = consumer.assignment()
    wanted = [tp for partition in partitions if (tp := _topic_partition(partition)) in owned]
    if wanted:
        action(*wanted)


def _partition(tp: TopicPartition) -> Partition:
    return Partition(tp.topic, tp.partition)


def _topic_partition(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.index)


def _consumed(partition: Partition, record: Any) -> ConsumedRecord:
    return ConsumedRecord(
        partition=partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=getattr(record.headers, "pairs", ()),  # formats before version 2 have none
        timestamp=(record.timestamp or 0) / 1_000,
    )


class _Headers(list[Any]):
    """The headers of one record in `pairs`. To the client it is an empty list: it would encode every name again, only to
    count bytes for metrics that are switched off."""

    __slots__ = ("pairs",)
    pairs: tuple[tuple[str, bytes], ...]


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of the log, read in a third of the client's own time, and with header names that may be any bytes.

    The client takes a name that is not UTF-8, as other clients write them, for a corrupt record, and then never gets past
    it. Here what is not ASCII in such a name becomes `?`; key, value and the headers' values stay as they are.
    """

    _buffer: Any
    _pos: int

    def __iter__(self) -> Any:
        records = super().__iter__()
        # A slice of bytes is a copy; that of a bytearray is one that has to be copied again to be bytes.
        self._buffer = bytes(self._buffer)
        return records

    def _read_msg(self) -> Any:
        buffer = self._buffer
        length, start = decode_varint(buffer, self._pos)
        _, position = decode_varint(buffer, start)  # attributes, of which there are none
        timestamp_delta, position = decode_varint(buffer, position)
        offset_delta, position = decode_varint(buffer, position)
        key, position = _nullable_bytes(buffer, position)
        value, position = _nullable_bytes(buffer, position)
        headers = _Headers()
        headers.pairs, position = _read_headers(buffer, position)
        if position - start != length:
            raise CorruptRecordError(f"a record of {length} bytes has fields of {position - start} bytes")
        self._pos = position
        timestamp_type = self.timestamp_type
        timestamp = self.max_timestamp if timestamp_type else self.first_timestamp + timestamp_delta
        kind = ControlRecord if self.is_control_batch else DefaultRecord
        return kind(length, self.base_offset + offset_delta, timestamp, timestamp_type, key, value, headers)


def _nullable_bytes(buffer: bytes, position: int) -> tuple[bytes | None, int]:
    size, position = decode_varint(buffer, position)
    if size < 0:
        return None, position
    return buffer[position : position + size], position + size


def _read_headers(buffer: bytes, position: int) -> tuple[tuple[tuple[str, bytes], ...], int]:
    """The headers that begin at `position` with their count, and where they end. A value that is null reads as empty.

    Most sizes take one byte, whose upper seven bits they are; calling a function for each would be half of the time.
    """
    count, position = decode_varint(buffer, position)
    if count < 0:
        raise CorruptRecordError(f"a record with {count} headers")
    pairs = []
    for _ in range(count):
        size = buffer[position]
        if size & 0x81:
            size, position = decode_varint(buffer, position)
            if size < 0:
                raise CorruptRecordError(f"a header's name of {size} bytes")
        else:
            size, position = size >> 1, position + 1
        end = position + size
        name = _header_name(buffer[position:end])
        size = buffer[end]
        if size & 0x81:
            size, position = decode_varint(buffer, end)
            size = max(0, size)
        else:
            size, position = size >> 1, end + 1
        end = position + size
        pairs.append((name, buffer[position:end]))
        position = end
    return tuple(pairs), position


@lru_cache(maxsize=1_024)
def _header_name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return bytes(byte if byte < 0x80 else ord("?") for byte in name).decode()


memory_records.DefaultRecordBatch = _Batch
