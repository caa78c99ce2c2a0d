"""What the client makes of bytes in the log that it does not expect."""

from typing import Any

import pytest
from kafka.errors import KafkaError, UnsupportedCodecError
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from common.kafka import GroupConsumer
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings

GZIP = 1


class ReadsNothing:
    """A client without the library for the log's codec."""

    def __init__(self, **config: Any) -> None:
        pass

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
    monkeypatch.setattr("common.kafka.KafkaConsumer", KnowsNothing)
    listener: Any = None
    with pytest.raises(KafkaError, match=r"imgdiff\.captions"):
        GroupConsumer(
            KafkaSettings(), group="g", instance="i", topic="imgdiff.captions", session_timeout_s=6, listener=listener
        )


def test_a_codec_that_is_not_installed_is_a_clear_error_not_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.kafka.KafkaConsumer", ReadsNothing)
    listener: Any = None
    consumer = GroupConsumer(
        KafkaSettings(), group="g", instance="i", topic="imgdiff.captions", session_timeout_s=6, listener=listener
    )
    with pytest.raises(ConfigurationError, match=r"imgdiff\.captions.*zstd.*pip install"):
        consumer.poll(0.1, 1)


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
    found = [(record.offset, record.key, record.value, record.headers) for record in batch]
    assert found == [
        (0, b"a", b"before", [("ü", b"1")]),
        (1, b"k\xfc", b"v\xfc", [("ä", b"\xfc"), ("f?r", b"\xfc"), ("?", None), ("x", b"")]),
        (2, None, b"after", []),
    ]
