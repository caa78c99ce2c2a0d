"""What stands in `<worker>.replayed` besides records of replays."""

from collections.abc import Iterator

import pytest

from common.kafka import ConsumedRecord, Partition
from common.runtime.errors import ConfigurationError
from common.settings import load_layers
from ops.dead_letters import replay_log
from ops.ingest import progress
from schemas import codec
from schemas.topics import BOXES, Names
from tests.schemas.samples import PROGRESS, REPLAYED

COMMON = load_layers({}).common()
NAMES = Names("mine")


def topic_with(value: bytes, schema: bytes) -> ConsumedRecord:
    return ConsumedRecord(
        partition=Partition("a.topic", 0),
        offset=17,
        key=b"k",
        value=value,
        headers=(("schema", schema),),
        timestamp=1.0,
    )


@pytest.mark.parametrize(
    "value",
    [b"\xc1", codec.encode(PROGRESS), codec.encode(REPLAYED.model_copy(update={"id": "no place"}))],
)
def test_something_else_in_the_log_of_replays_is_one_line(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> Iterator[ConsumedRecord]:
        yield topic_with(value, b"replayed/1")

    monkeypatch.setattr(replay_log, "read_to_end", read)
    with pytest.raises(ConfigurationError, match=r"^a\.topic/0/17: not a record of a replay: .*something else wrote"):
        replay_log.ReplayLog.read(COMMON.kafka, NAMES, BOXES)


def test_something_else_in_the_log_of_ingest_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> Iterator[ConsumedRecord]:
        yield topic_with(codec.encode(REPLAYED), b"ingest-progress/1")

    monkeypatch.setattr(progress, "read_to_end", read)
    with pytest.raises(ConfigurationError, match=r"^a\.topic/0/17: not a progress record: .*something else wrote"):
        progress.ProgressLog.read(COMMON.kafka, NAMES)
