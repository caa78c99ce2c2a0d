"""What the client makes of bytes in the log that it does not expect."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ExceptionMetadata, Fetcher
from kafka.errors import CorruptRecordError, KafkaError, NotCoordinatorError, UnsupportedCodecError
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.record.default_records import DefaultRecordBatch

from common.kafka import Admin, GroupConsumer, UnreadableError
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings

GZIP = 1


class ReadsNothing:
    """A client without the library for the log's codec."""

    def __init__(self, **config: Any) -> None:
        self._fetcher = SimpleNamespace(_next_partition_records=None, _next_in_line_exception_metadata=None)
        self._subscription = SimpleNamespace()

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def subscribe(self, topics: list[str], listener: object) -> None:
        pass

    def poll(self, timeout_ms: int, max_records: int) -> Any:
        raise UnsupportedCodecError("Libraries for zstd compression codec not found")


class KnowsNothing(ReadsNothing):
    """A client of a broker that has just come up."""

    def partitions_for_topic(self, topic: str) -> None:  # type: ignore[override]
        return None

    def close(self, autocommit: bool, timeout_ms: int) -> None:
        pass


def test_a_topic_that_is_not_known_yet_is_no_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.kafka.consumer.KafkaConsumer", KnowsNothing)
    listener: Any = None
    with pytest.raises(KafkaError, match=r"imgdiff\.captions"):
        GroupConsumer(
            KafkaSettings(), group="g", instance="i", topic="imgdiff.captions", session_timeout_s=6, listener=listener
        )


def test_a_codec_that_is_not_installed_is_a_clear_error_not_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.kafka.consumer.KafkaConsumer", ReadsNothing)
    listener: Any = None
    consumer = GroupConsumer(
        KafkaSettings(), group="g", instance="i", topic="imgdiff.captions", session_timeout_s=6, listener=listener
    )
    with pytest.raises(ConfigurationError, match=r"imgdiff\.captions.*zstd.*pip install"):
        consumer.poll(0.1, 1)


DAMAGED = TopicPartition("imgdiff.captions", 0)


class ReadsDamage(ReadsNothing):
    """A client in whose hands is a fetch with one good batch, and one whose checksum does not fit."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.paused: list[TopicPartition] = []
        log = b""
        for offset in (5, 6):
            builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=10_000, offset=offset)
            builder.append(1, b"key", b"a dog", [])
            builder.close()
            log += bytes(builder.buffer())
        cut = len(log) - 8
        self.fetch = Fetcher.PartitionRecords(5, DAMAGED, MemoryRecords(log[:cut] + b"a cat" + log[cut + 5 :]))
        self._fetcher._next_partition_records = self.fetch

    def poll(self, timeout_ms: int, max_records: int) -> Any:
        fetch = self._fetcher._next_partition_records
        return {DAMAGED: found} if fetch and (found := fetch.take(max_records)) else {}

    def assignment(self) -> set[TopicPartition]:
        return {DAMAGED}

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused += partitions


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> GroupConsumer:
    monkeypatch.setattr("common.kafka.consumer.KafkaConsumer", ReadsDamage)
    monkeypatch.setattr(GroupConsumer, "_revive_forgotten_join", lambda _: None)
    monkeypatch.setattr(GroupConsumer, "_raise_fencing", lambda _: None)
    monkeypatch.setattr("common.kafka.consumer._ListenerAdapter.renewed", lambda _: False)
    listener: Any = None
    return GroupConsumer(
        KafkaSettings(), group="g", instance="i", topic=DAMAGED.topic, session_timeout_s=6, listener=listener
    )


def test_damage_is_told_with_its_place_and_not_met_again(damaged: GroupConsumer) -> None:
    [fetched] = damaged.poll(0.1, 1)
    assert [record.offset for record in fetched.records] == [5]
    with pytest.raises(UnreadableError, match=r"imgdiff\.captions/0 can not be read from offset 6 on"):
        damaged.poll(0.1, 1)
    assert damaged._consumer.paused == [DAMAGED]
    assert damaged.poll(0.1, 1) == []


def test_damage_that_the_client_has_put_off_is_told_before_it_is_forgotten(damaged: GroupConsumer) -> None:
    """With records before it the client keeps it for the next poll, and drops it where the partition is paused by then: it
    would look for more in the rest of the fetch for ever."""
    damaged.poll(0.1, 1)
    with pytest.raises(CorruptRecordError) as caught:
        damaged._consumer.fetch.take(1)
    damaged._consumer._fetcher._next_in_line_exception_metadata = ExceptionMetadata(DAMAGED, 6, caught.value)
    with pytest.raises(UnreadableError, match="from offset 6 on"):
        damaged.poll(0.1, 1)
    assert damaged.poll(0.1, 1) == []


def test_a_broker_that_can_not_read_its_log_does_not_say_whose_it_is(
    damaged: GroupConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object, timeout_ms: int, max_records: int) -> Any:
        raise CorruptRecordError("Unexpected error while fetching data")

    damaged._consumer._fetcher._next_partition_records = None
    monkeypatch.setattr(ReadsDamage, "poll", refused)
    with pytest.raises(CorruptRecordError):
        damaged.poll(0.1, 1)


class Latin(str):
    """A header's name as other clients can write it: any bytes."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("latin-1")


@pytest.mark.parametrize("compression", [0, GZIP])
def test_a_header_name_that_is_not_utf_8_costs_nothing_but_its_odd_letters(compression: int) -> None:
    """The client takes the record for corrupt, and would ask for it for ever."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=compression, batch_size=10_000)
    builder.append(1, b"a", b"before", [("ü", b"1")])
    builder.append(
        2, b"k\xfc", b"v\xfc", [("ä", b"\xfc"), (Latin("f\xfcr"), b"\xfc"), (Latin("\xe4"), None), ("x", b"")]
    )
    builder.append(3, None, b"after", [])
    builder.close()
    records = MemoryRecords(bytes(builder.buffer()))
    batch = records.next_batch()
    assert batch.validate_crc()
    found = [(record.offset, record.key, record.value, record.headers.pairs) for record in batch]
    assert found == [
        (0, b"a", b"before", (("ü", b"1"),)),
        (1, b"k\xfc", b"v\xfc", (("ä", b"\xfc"), ("f?r", b"\xfc"), ("?", b""), ("x", b""))),
        (2, None, b"after", ()),
    ]


BYTES = st.none() | st.binary(max_size=300)
RECORDS = st.lists(
    st.tuples(BYTES, BYTES, st.lists(st.tuples(st.text(max_size=100), BYTES), max_size=4)), min_size=1, max_size=4
)


@given(RECORDS)
def test_records_are_read_as_the_client_reads_them(records: list[tuple[Any, Any, list[tuple[str, Any]]]]) -> None:
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1_000_000)
    for position, (key, value, headers) in enumerate(records):
        builder.append(1_000 + position, key, value, headers)
    builder.close()
    buffer = bytes(builder.buffer())
    ours = MemoryRecords(buffer).next_batch()
    assert type(ours) is not DefaultRecordBatch
    assert [
        (r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers.pairs, r.size_in_bytes) for r in ours
    ] == [
        (
            r.offset,
            r.timestamp,
            r.timestamp_type,
            r.key,
            r.value,
            tuple((name, value or b"") for name, value in r.headers),
            r.size_in_bytes,
        )
        for r in DefaultRecordBatch(buffer)
    ]


@given(RECORDS, st.data())
def test_a_batch_with_wrong_bytes_ends_in_the_clients_own_error(records: Any, data: st.DataObject) -> None:
    """Checksums keep these away; a producer that computes them over nonsense does not."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1_000_000)
    for key, value, headers in records:
        builder.append(1_000, key, value, headers)
    builder.close()
    buffer = bytearray(builder.buffer())
    at = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(buffer) - 1))
    buffer[at] = data.draw(st.integers(0, 255))
    with suppress(CorruptRecordError):
        for record in MemoryRecords(bytes(buffer)).next_batch():
            assert isinstance(record.headers.pairs, tuple)


class Settling:
    """An admin client whose coordinator is elsewhere when it is first asked to delete."""

    def __init__(self) -> None:
        self.deleted: list[list[str]] = []

    def list_group_offsets(self, groups: dict[str, None]) -> dict[str, Any]:
        return {group: {TopicPartition("topic", 0): OffsetAndMetadata(1, "", -1)} for group in groups}

    def delete_groups(self, groups: list[str]) -> None:
        self.deleted.append(groups)
        if len(self.deleted) == 1:
            raise NotCoordinatorError


def test_a_coordinator_that_is_being_elected_is_waited_for_when_groups_are_deleted() -> None:
    admin = Admin.__new__(Admin)
    admin.settings, admin._admin = KafkaSettings(), Settling()
    admin.delete_groups(["one"])
    assert admin._admin.deleted == [["one"], ["one"]]
