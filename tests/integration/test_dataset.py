"""The sink on a real broker: killed at its own steps, or asleep while another takes over, it keeps every row once.

The steps that it shares with every worker are those of test_stream.py.
"""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from common.blobs import Blobs
from common.kafka import Message
from common.runtime.errors import TransientError
from common.runtime.exits import ExitCode
from common.runtime.faults import Step
from common.runtime.ownership import Assignment
from common.runtime.worker import Worker
from common.settings import load_layers
from common.storage import Storage
from ops.dataset.statistics import count_samples
from schemas import codec, headers
from schemas.counters import ShardMark
from schemas.dead_letters import DeadLetter
from schemas.topics import DATASET
from tests.integration.kit import Stream, WorkerProcess, wait_until
from tests.integration.runtime.in_process import Hooks
from tests.integration.stream_run import dataset_of, shards_of
from tests.workers.dataset.samples import sample
from workers.dataset import WORKER
from workers.dataset.settings import DatasetSettings
from workers.dataset.shards import ShardStore

SINK = "workers.dataset"
ROWS = 40
SMALL = {"IMGDIFF_DATASET__BATCH_SIZE": "7", "IMGDIFF_DATASET__BATCH_WAIT_S": "0.1"}


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.long)])
def stream(request: pytest.FixtureRequest, broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    """Pictures and dataset in a folder, or in a store that has no rename."""
    on_s3 = request.getfixturevalue("s3").as_settings() if request.param == "s3" else {}
    made = Stream(broker, prefix, tmp_path, environ={**SMALL, **on_s3}).create()
    yield made
    made.end()


def qa_message(stream: Stream, number: int, sha256: str | None = None) -> Message:
    """The record of sample `number`, whose pictures are stored unless another digest is given."""
    blobs = Blobs(stream.settings.blobs)
    given = sample(number)
    references = {name: blobs.put_image(Image.open(BytesIO(data))) for name, data in given.pictures.items()}
    if sha256 is not None:
        references["first"] = references["first"].model_copy(update={"sha256": sha256})
    record = given.record.model_copy(update=references)
    return Message(
        topic=stream.names.topic("qa"),
        key=record.caption_id.encode(),
        value=codec.encode(record),
        headers=[(headers.SCHEMA, record.schema_name().encode())],
        partition=number % stream.partitions,
    )


def produce(stream: Stream) -> None:
    # Before the transaction begins: storing the pictures may take longer than one may be open.
    with ThreadPoolExecutor(8) as pool:
        messages = list(pool.map(lambda number: qa_message(stream, number), range(ROWS)))
    stream.produce(messages)


@dataclass(frozen=True)
class Row:
    id: str
    source: str


def rows(stream: Stream) -> list[Row]:
    store = shards_of(stream)
    found = []
    for name in store.shards():
        with store.opened(name) as shard:
            found += [
                Row(row["id"], f"{row['source_topic']}/{row['source_partition']}/{row['source_offset']}")
                for row in shard.read(columns=["id", "source_topic", "source_partition", "source_offset"]).to_pylist()
            ]
    return found


def check_all_rows_once(stream: Stream) -> None:
    found = rows(stream)
    assert Counter(row.id for row in found) == Counter(f"sample-3-{number}" for number in range(ROWS))
    assert len({row.source for row in found}) == ROWS
    counters = stream.counters("dataset")
    assert (counters.consumed, counters.passed, counters.outputs) == (ROWS, ROWS, ROWS)
    assert count_samples(shards_of(stream).url, dataset_of(stream).options) == ROWS


def test_samples_become_rows_and_what_is_none_says_why(stream: Stream) -> None:
    stream.produce([qa_message(stream, 0), qa_message(stream, 1, sha256="0" * 64), qa_message(stream, 2)])
    stream.produce([Message(stream.names.topic("qa"), b"key", b"junk", [(headers.SCHEMA, b"qa/1")], partition=2)])
    sink = stream.start(SINK)
    stream.settle("dataset", "qa")
    wait_until("rows are in place", lambda: len(rows(stream)) == 2, 10)
    assert {row.id for row in rows(stream)} == {"sample-3-0", "sample-3-2"}
    letters = [DeadLetter.parse(record.headers) for record in stream.read(DATASET.failed)]
    assert sorted(letter.reason for letter in letters) == ["image_missing", "undecodable"]
    assert stream.counters("dataset").failed == {"image_missing": 1, "undecodable": 1}
    assert sink.stop() == 0
    dataset = dataset_of(stream)
    assert list(Storage(dataset.url, dataset.options, "dataset.url").files("pending")) == []


def test_stopped_while_a_shard_is_on_its_way_to_its_place(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is away for that moment, and the next batch of the partition has begun: it must not be named in its stead."""
    stream.produce([replace(qa_message(stream, number), partition=0) for number in range(21)])
    layers = load_layers(stream.environ)
    worker = Worker(WORKER, layers.section("dataset", DatasetSettings), layers.common(), {"IMGDIFF_INSTANCE": "here"})
    begun, draining = threading.Event(), threading.Event()
    worker._faults = Hooks(Step.BEFORE_STORE, begun.set, passing=2)
    drain_all, finish = Assignment.drain_all, ShardStore.finish

    def noted(assignment: Assignment) -> None:
        drain_all(assignment)
        draining.set()

    def away_once(shards: ShardStore, mark: ShardMark) -> None:
        if not draining.is_set():
            assert begun.wait(30)
            worker.stop()
            assert draining.wait(30)
            raise TransientError("503")
        finish(shards, mark)

    with monkeypatch.context() as patched:
        patched.setattr(Assignment, "drain_all", noted)
        patched.setattr(ShardStore, "finish", away_once)
        assert worker.run() is ExitCode.DONE

    successor = stream.start(SINK)
    stream.settle("dataset", "qa")
    assert successor.stop() == 0
    assert len(rows(stream)) == stream.counters("dataset").outputs == 21


@pytest.mark.long
@pytest.mark.parametrize("step", [Step.AFTER_SEAL, Step.AFTER_COMMIT, Step.AFTER_MOVE])
def test_killed_at_its_own_steps(stream: Stream, step: Step) -> None:
    produce(stream)
    first = stream.start(SINK, IMGDIFF_FAULT=f"dataset:{step}:2:SIGKILL")
    assert first.wait(120) == -signal.SIGKILL
    second = stream.start(SINK)
    # One record at a time, each a shard of its own, until those are done over which the first one died.
    stream.settle("dataset", "qa", 180)
    assert second.stop() == 0
    check_all_rows_once(stream)


@pytest.mark.long
@pytest.mark.parametrize("step", [Step.AFTER_OFFSETS, Step.AFTER_COMMIT])
def test_asleep_while_another_takes_over(stream: Stream, step: Step) -> None:
    produce(stream)
    sleeper = stream.start(SINK, IMGDIFF_FAULT=f"dataset:{step}:2:SIGSTOP", IMGDIFF_RUNTIME__SESSION_TIMEOUT_S="6")
    wait_until("the sink sleeps", lambda: _asleep(sleeper), 60)
    successor = stream.start(SINK, IMGDIFF_RUNTIME__SESSION_TIMEOUT_S="6")
    stream.settle("dataset", "qa")
    check_all_rows_once(stream)
    sleeper.send(signal.SIGCONT)
    wait_until("it has noticed", lambda: sleeper.process.poll() is not None or stream.lag("dataset", "qa") == 0, 30)
    sleeper.stop()
    assert successor.stop() == 0
    check_all_rows_once(stream)


def _asleep(worker: WorkerProcess) -> bool:
    """Whether Linux has the process as stopped."""
    assert worker.process.poll() is None, worker.log
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(") ")[2][0] == "T"
