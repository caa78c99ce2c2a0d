"""Two processes under one name: one of them ends, and does not come back by itself."""

import threading
import time

import pytest
from kafka import KafkaProducer

from common.kafka import Message, Partition, ProducerFencedError, TransactionalProducer
from common.kafka.client import client_config
from schemas.topics import EDITS
from tests.integration.kit import Stream, wait_until

PROBE = "tests.integration.probe"


@pytest.mark.long
def test_a_twin_ends_with_75_and_does_not_loop(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 200)
    name = {"IMGDIFF_INSTANCE": "twin", "PROBE_DELAY_S": "1"}
    first = stream.start(PROBE, **name)
    wait_until("the first works", lambda: stream.counters("edits").consumed > 0)

    second = stream.start(PROBE, **name)
    assert first.wait(30) == 75
    assert "another process" in first.log
    stream.settle("edits", "captions")

    assert second.process.poll() is None
    assert stream.recount(EDITS).counters == stream.counters("edits")
    assert stream.counters("edits").consumed == 200
    assert second.stop() == 0


def send_for_ever(producer: TransactionalProducer, message: Message) -> None:
    while True:
        producer.send(message)
        time.sleep(0.02)


def test_a_producer_that_learns_while_sending_that_it_was_fenced_says_so_at_every_call(stream: Stream) -> None:
    """Taken for any other failure it would be built anew, and fence its twin in turn."""
    name = f"{stream.prefix}.edits.twin"
    message = stream.caption_message("a dog", 0)
    first = TransactionalProducer(stream.settings.kafka, name, 10)
    first.begin()
    first.send(message)
    second = TransactionalProducer(stream.settings.kafka, name, 10)
    try:
        with pytest.raises(ProducerFencedError):
            send_for_ever(first, message)
        with pytest.raises(ProducerFencedError):
            first.send_offsets_of(f"{stream.prefix}.nobody", {Partition(stream.names.topic("captions"), 0): 1})
        with pytest.raises(ProducerFencedError):
            first.commit()
    finally:
        first.close()
        second.close()


def test_a_producer_whose_twin_is_still_on_its_way_in_is_fenced_too(stream: Stream) -> None:
    """Until the twin has asked twice the broker takes the first for a producer that recovers, and its client starts anew."""
    name = f"{stream.prefix}.edits.twin"
    message = stream.caption_message("a dog", 0)
    first = TransactionalProducer(stream.settings.kafka, name, 10)
    first.begin()
    first.send(message)
    first._producer.flush()
    second = KafkaProducer(
        transactional_id=name, retry_backoff_ms=2_000, max_block_ms=20_000, **client_config(stream.settings.kafka)
    )
    coming = threading.Thread(target=second.init_transactions)
    coming.start()
    try:
        with pytest.raises(ProducerFencedError):
            send_for_ever(first, message)
        with pytest.raises(ProducerFencedError):
            first.send_offsets_of(f"{stream.prefix}.nobody", {Partition(stream.names.topic("captions"), 0): 1})
    finally:
        coming.join()
        first.close()
        second.close(timeout=1)


@pytest.mark.long
def test_a_twin_with_nothing_to_do_ends_too(stream: Stream) -> None:
    first = stream.start(PROBE, IMGDIFF_INSTANCE="twin")
    wait_until("the first is in", lambda: "assigned" in first.log)
    second = stream.start(PROBE, IMGDIFF_INSTANCE="twin")
    assert first.wait(60) == 75
    assert second.stop() == 0
