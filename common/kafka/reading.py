"""Whole topics, read once by somebody who belongs to no group."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import AuthorizationError, KafkaTimeoutError

from common.kafka.admin import Admin
from common.kafka.client import (
    FETCH_MAX_BYTES,
    client_config,
    consumed,
    forbidden,
    partition_of,
    topic_partition,
    user_of,
)
from common.kafka.greeting import greet
from common.kafka.values import EVERYTHING, ConsumedRecord, Partition, Share
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings

LOOK_S = 0.1
"""How long a poll of many partitions waits: behind the last records lie the markers of their transactions, which bring no
record and only move positions."""


def read_to_end(
    settings: KafkaSettings,
    topics: Sequence[str],
    *,
    committed_only: bool = True,
    silence_s: float = 30.0,
    start: Mapping[Partition, int] | None = None,
    ends: Mapping[Partition, int] | None = None,
    behind_open: bool = False,
    share: Share = EVERYTHING,
) -> Iterator[ConsumedRecord]:
    """The records of whole topics up to where they end now, topic by topic as given, partition by partition in offset
    order.

    Belongs to no group. `share` says which partitions. `start` gives offsets to begin at, else the log's start; `ends`
    gives offsets to end before, else the log's end. Records that were committed behind a transaction that is still open
    are left out, unless `behind_open` asks to wait for its end. Raises KafkaTimeoutError when nothing comes for
    `silence_s` although the end was not reached.
    """
    with _consumer(settings, committed_only=committed_only) as consumer:
        for topic in topics:
            indexes = consumer.partitions_for_topic(topic)
            if not indexes:
                unseen = "" if settings.sasl_plain_username is None else f", or {user_of(settings)} may not read it"
                raise ConfigurationError(
                    f"topic {topic} does not exist{unseen}: create the topics with `imgdiff topics create`"
                )
            partitions = [each for index in sorted(indexes) if (each := Partition(topic, index)) in share]
            if not partitions:
                continue
            # Asked for all at once: most partitions are empty, and each question is a way to the broker and back.
            begins = consumer.beginning_offsets([topic_partition(partition) for partition in partitions])
            last = _log_ends(settings, partitions) if behind_open else _stable_ends(consumer, partitions)
            for partition in partitions:
                first = begins[topic_partition(partition)]
                begin = max(first, (start or {}).get(partition, first))
                end = min(last[partition], (ends or last).get(partition, last[partition]))
                if begin < end:
                    yield from _read_partition(consumer, partition, silence_s, begin, end)


def read_together(
    settings: KafkaSettings,
    starts: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    *,
    silence_s: float = 30.0,
) -> Iterator[list[ConsumedRecord]]:
    """The records of partitions of any topics from their start to before their end, as they come: in offset order in each
    partition, the partitions in any order. Aborted and uncommitted records are among them.

    Belongs to no group. Gives what each look at the brokers brought, which may be nothing, so that whoever asks can
    stop. Raises KafkaTimeoutError when nothing comes for `silence_s` although an end was not reached.
    """
    unread = {topic_partition(each): ends[each] for each, start in starts.items() if start < ends[each]}
    if not unread:
        return
    with _consumer(settings, committed_only=False) as consumer:
        consumer.assign(list(unread))
        for tp in unread:
            consumer.seek(tp, starts[partition_of(tp)])
        positions = {tp: starts[partition_of(tp)] for tp in unread}
        moved_at = time.monotonic()
        while unread:
            polled = consumer.poll(timeout_ms=int(LOOK_S * 1_000), max_records=10_000)
            yield [
                consumed(partition_of(tp), record)
                for tp, records in polled.items()
                if tp in unread
                for record in records
                if record.offset < unread[tp]
            ]
            before, positions = positions, {tp: _position(consumer, tp, positions[tp]) for tp in unread}
            if any(positions[tp] > before[tp] for tp in unread):
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > silence_s:
                tp, end = next(iter(unread.items()))
                raise KafkaTimeoutError(
                    f"{tp.topic}/{tp.partition}: nothing after offset {positions[tp]} of {end} for {silence_s:.0f} s"
                )
            # What is written meanwhile, behind the end, would be fetched over and over.
            done = [tp for tp, end in unread.items() if positions[tp] >= end]
            consumer.pause(*done)
            for tp in done:
                del unread[tp]


def _position(consumer: KafkaConsumer, tp: TopicPartition, before: int) -> int:
    """Where the consumer stands. The client's own question goes through all partitions for each one that is asked for:
    with a thousand of them that takes seconds.
    """
    found = consumer._subscription.assignment[tp].position
    return before if found is None else int(found.offset)


@contextmanager
def _consumer(settings: KafkaSettings, *, committed_only: bool) -> Iterator[KafkaConsumer]:
    """Belongs to no group. Raises ConfigurationError for what it may not read."""
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
        yield consumer
    except AuthorizationError as error:
        raise forbidden(settings, error) from error
    finally:
        consumer.close(autocommit=False, timeout_ms=2_000)


def _log_ends(settings: KafkaSettings, partitions: Collection[Partition]) -> dict[Partition, int]:
    with Admin(settings) as admin:
        return admin.log_ends(partitions)


def _stable_ends(consumer: KafkaConsumer, partitions: Collection[Partition]) -> dict[Partition, int]:
    found = consumer.end_offsets([topic_partition(partition) for partition in partitions])
    return {partition_of(tp): offset for tp, offset in found.items()}


def _read_partition(
    consumer: KafkaConsumer, partition: Partition, silence_s: float, position: int, end: int
) -> Iterator[ConsumedRecord]:
    tp = topic_partition(partition)
    consumer.assign([tp])
    consumer.seek(tp, position)
    silent_since = time.monotonic()
    while position < end:
        polled = consumer.poll(timeout_ms=500, max_records=1_000)
        for record in polled.get(tp, ()):
            if record.offset >= end:
                return
            yield consumed(partition, record)
        reached = consumer.position(tp)
        if reached is not None and reached > position:
            position = reached
            silent_since = time.monotonic()
        elif time.monotonic() - silent_since > silence_s:
            raise KafkaTimeoutError(
                f"{partition.topic}/{partition.index}: nothing after offset {position} of {end} for {silence_s:.0f} s"
            )
