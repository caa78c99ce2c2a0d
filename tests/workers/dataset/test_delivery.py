"""The sink's delivery between the stage and the transaction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from common.kafka import ConsumedRecord, Partition
from common.runtime.delivery import DeadLetterWriter, Signature
from common.runtime.errors import TransientError
from common.runtime.flight import Failed, Fetched, Finished, Loaded, Prepared
from common.runtime.stage import Emit, Picture, Task
from schemas.counters import Counters, OffsetMetadata, ShardMark
from schemas.dead_letters import DeadLetter, DeadLetterKind, PoisonReason
from schemas.invalid import InvalidReason
from schemas.topics import DATASET, Names
from schemas.trail import TrailStep
from tests.workers.dataset.samples import sample
from workers.dataset.delivery import ShardDelivery
from workers.dataset.shards import ShardLostError, ShardStore
from workers.dataset.stage import DatasetStage

PARTITION = Partition("imgdiff.qa", 3)

T = TypeVar("T")


class OnceMore:
    """A retry that tries again at once."""

    def run(self, what: str, action: Callable[[], T], wanted: Callable[[], bool]) -> T:
        try:
            return action()
        except TransientError:
            return action()


@pytest.fixture
def shards(tmp_path: Path) -> ShardStore:
    store = ShardStore(str(tmp_path / "dataset"), {})
    store.initialise()
    return store


@pytest.fixture
def delivery(shards: ShardStore) -> ShardDelivery:
    signature = Signature("dataset", "0.1.0", "0" * 12, ())
    retry: Any = OnceMore()
    return ShardDelivery(shards, DeadLetterWriter(DATASET, Names("imgdiff"), signature), retry)


def wanted() -> bool:
    return True


def finished(offset: int, outcome: Any = None, **fields: Any) -> Finished:
    given = sample(offset, PARTITION.index, **fields)
    task = Task(given.record, {name: Picture(data) for name, data in given.pictures.items()})
    record = ConsumedRecord(PARTITION, offset, b"key", b"value", (("schema", b"qa/1"),), 1.0)
    if outcome is None:
        (outcome,) = DatasetStage().process([task])
    return Finished(Loaded(Fetched(record, 1), task), outcome, 1, 0.0, 0.0)


def prepared(delivery: ShardDelivery, *given: Finished) -> list[Prepared]:
    return [delivery.prepare(one, wanted) for one in given]


def rows(shards: ShardStore) -> dict[str, list[int]]:
    found = {}
    for name in shards.shards():
        with shards.opened(name) as shard:
            found[name] = shard.read(columns=["source_offset"]).column(0).to_pylist()
    return found


def test_a_batch_becomes_a_shard(delivery: ShardDelivery, shards: ShardStore) -> None:
    part = prepared(delivery, *(finished(offset) for offset in (120, 121, 125)))
    assert [list(one.messages) for one in part] == [[], [], []]
    mark = delivery.seal(PARTITION, part, wanted)
    assert mark is not None
    assert rows(shards) == {}
    delivery.complete(PARTITION, OffsetMetadata(counters=Counters(), shard=mark))
    assert rows(shards) == {"part-00003-000000000120-000000000125.parquet": [120, 121, 125]}


def test_what_is_no_sample_goes_to_the_dead_letters_and_no_row(delivery: ShardDelivery, shards: ShardStore) -> None:
    failed = finished(7, Failed(DeadLetterKind.INVALID, InvalidReason.IMAGE_MISSING, detail="picture ab: not there"))
    part = prepared(delivery, failed)
    (message,) = part[0].messages
    assert message.topic == "imgdiff.dataset.failed"
    assert DeadLetter.parse(message.headers).reason == "image_missing"
    assert delivery.seal(PARTITION, part, wanted) is None


def test_a_sample_that_makes_no_row_fails_alone(delivery: ShardDelivery, shards: ShardStore) -> None:
    odd = TrailStep(stage="qa", worker_version="1", settings_digest="0", truth={"raw": b"\xff"})
    part = prepared(delivery, finished(1), finished(2, trail=(odd,)), finished(3))
    poisoned = part[1].outcome
    assert isinstance(poisoned, Failed)
    assert poisoned.reason == PoisonReason.EXCEPTION
    assert isinstance(part[0].outcome, Emit)
    mark = delivery.seal(PARTITION, part, wanted)
    assert mark is not None
    delivery.complete(PARTITION, OffsetMetadata(shard=mark))
    assert list(rows(shards).values()) == [[1, 3]]


def test_a_shard_whose_transaction_did_not_happen_leaves_nothing(
    delivery: ShardDelivery, shards: ShardStore, tmp_path: Path
) -> None:
    mark = delivery.seal(PARTITION, prepared(delivery, finished(1)), wanted)
    assert mark is not None
    delivery.discard(mark)
    assert list((tmp_path / "dataset" / "pending").iterdir()) == []


def test_a_failed_write_is_tried_again_under_another_token(
    delivery: ShardDelivery, shards: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, tokens = shards.write_pending, []

    def fails_once(token: str, samples: Any) -> None:
        tokens.append(token)
        if len(tokens) == 1:
            raise TransientError("the disk is full")
        write(token, samples)

    monkeypatch.setattr(shards, "write_pending", fails_once)
    mark = delivery.seal(PARTITION, prepared(delivery, finished(1)), wanted)
    assert mark is not None
    assert mark.token == tokens[1] != tokens[0]


def test_discarding_survives_an_outage(
    delivery: ShardDelivery, shards: ShardStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(_: str) -> None:
        raise TransientError("connection refused")

    monkeypatch.setattr(shards, "discard", unreachable)
    delivery.discard(ShardMark(token="0" * 32, name="part-00003-000000000000-000000000000.parquet"))
    assert "connection refused" in caplog.text


def test_nothing_committed_is_nothing_to_complete(delivery: ShardDelivery, shards: ShardStore) -> None:
    delivery.complete(PARTITION, OffsetMetadata(counters=Counters(consumed=3, passed=3)))
    assert rows(shards) == {}


def test_a_shard_that_was_taken_away_stops_the_sink_unless_that_is_accepted(shards: ShardStore) -> None:
    metadata = OffsetMetadata(
        counters=Counters(), shard=ShardMark(token="0" * 32, name="part-00003-000000000000-000000000004.parquet")
    )
    retry: Any = OnceMore()
    letters = DeadLetterWriter(DATASET, Names("imgdiff"), Signature("dataset", "0.1.0", "0" * 12, ()))
    with pytest.raises(ShardLostError, match=r"dataset\.accept_missing_shards=true"):
        ShardDelivery(shards, letters, retry).complete(PARTITION, metadata)
    ShardDelivery(shards, letters, retry, accept_missing=True).complete(PARTITION, metadata)


def test_want_of_memory_is_not_held_against_the_sample_at_once(
    delivery: ShardDelivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("workers.dataset.delivery.rows_of", full)
    with pytest.raises(MemoryError):
        delivery.prepare(finished(1), wanted)
