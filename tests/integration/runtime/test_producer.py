"""A producer of transactions, on a real broker."""

import os
import threading
import time
from dataclasses import replace

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from common.kafka import Admin, Message, Partition, ProducerFencedError, TransactionalProducer
from common.kafka.admin import TopicConfig
from common.kafka.client import client_config
from common.kafka.producer import RecordRefusedError
from schemas import headers
from schemas.captions import Caption
from tests.integration.kit import Stream, wait_until

JUNK_BYTES = 1_500_000


def begun(stream: Stream) -> TransactionalProducer:
    """A producer in a transaction with a record."""
    producer = TransactionalProducer(stream.settings.kafka, twin(stream), 10)
    producer.begin()
    producer.send(stream.caption_message("a dog", 0))
    return producer


def twin(stream: Stream) -> str:
    return f"{stream.prefix}.edits.twin"


def send_for_ever(stream: Stream, producer: TransactionalProducer) -> None:
    while True:
        producer.send(stream.caption_message("a dog", 0))
        time.sleep(0.02)


def send_offsets(stream: Stream, producer: TransactionalProducer) -> None:
    producer.send_offsets_of(f"{stream.prefix}.nobody", {Partition(stream.names.topic("captions"), 0): 1})


def junk(stream: Stream) -> Message:
    """Something that is no caption, and makes a dead letter of its size."""
    schema = (headers.SCHEMA, Caption.schema_name().encode())
    return Message(stream.names.topic("captions"), b"junk", os.urandom(JUNK_BYTES), [schema], partition=1)


def test_a_producer_that_learns_while_sending_that_it_was_fenced_says_so_at_every_call(stream: Stream) -> None:
    """Taken for any other failure it would be built anew, and fence its twin in turn."""
    first = begun(stream)
    second = TransactionalProducer(stream.settings.kafka, twin(stream), 10)
    try:
        with pytest.raises(ProducerFencedError):
            send_for_ever(stream, first)
        with pytest.raises(ProducerFencedError):
            send_offsets(stream, first)
        with pytest.raises(ProducerFencedError):
            first.commit()
    finally:
        first.close()
        second.close()


def test_a_producer_whose_twin_is_still_on_its_way_in_is_fenced_too(stream: Stream) -> None:
    """Until the twin has asked twice the broker takes the first for a producer that recovers, and its client starts anew."""
    first = begun(stream)
    first._producer.flush()
    second = KafkaProducer(
        transactional_id=twin(stream),
        retry_backoff_ms=2_000,
        max_block_ms=20_000,
        **client_config(stream.settings.kafka),
    )
    coming = threading.Thread(target=second.init_transactions)
    coming.start()
    try:
        with pytest.raises(ProducerFencedError):
            send_for_ever(stream, first)
        with pytest.raises(ProducerFencedError):
            send_offsets(stream, first)
    finally:
        coming.join()
        first.close()
        second.close(timeout=1)


def test_a_producer_closes_with_records_that_can_not_leave(stream: Stream) -> None:
    """The client would raise, and its thread would go on trying to send them."""
    message = Message(f"{stream.prefix}.soon-gone", b"key", b"value", ())
    with Admin(stream.settings.kafka) as admin:
        admin.create_topics([TopicConfig(message.topic, 1, 1, {})])
        producer = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.closing", 10)
        producer.begin()
        producer.send(message)
        producer._producer.flush()
        admin.delete_topics([message.topic])
        wait_until("the topic is gone", lambda: message.topic not in admin.partition_counts())
    producer.send(message)
    with pytest.raises(KafkaTimeoutError):
        producer._producer.flush(timeout=0.5)

    producer.close()
    assert not producer._producer._sender.is_alive()


def test_of_the_records_that_go_with_it_the_one_is_named_that_is_too_large(stream: Stream) -> None:
    """The client refuses the others with the same words."""
    narrow = f"{stream.prefix}.narrow"
    with Admin(stream.settings.kafka) as admin:
        admin.create_topics([TopicConfig(narrow, stream.partitions, 1, {"max.message.bytes": "1000000"})])
    large = replace(junk(stream), topic=narrow)
    producer = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.large", 10)
    producer.begin()
    for position in range(8):
        producer.send(replace(stream.caption_message("a dog", position), topic=narrow))
    producer.send(large)
    with pytest.raises(RecordRefusedError, match=rf"topic {narrow}, partition 1: .* {large.size} bytes"):
        producer.commit()
    producer.close()
