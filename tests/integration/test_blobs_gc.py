"""`imgdiff blobs gc` on a stream that has run: nothing that anybody refers to goes, and what nobody needs does."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import msgpack
import pytest
from kafka import KafkaConsumer
from PIL import Image

from common.blobs import Blobs, NotedStream
from common.kafka import Admin, Committed, Message, Partition, TransactionalProducer
from common.runtime.crash_marks import CrashMarks
from common.storage import Storage, StoredFile
from ops.blobs.digests import DigestSet
from ops.cli.main import main
from schemas.counters import Counters, OffsetMetadata, ShardMark
from schemas.topics import BOXES
from tests.integration.kit import Stream, wait_until
from tests.integration.stream_run import dataset_of, rows_in, shards_of
from tests.integration.test_dataset import ROWS, SMALL, produce
from tests.workers.dataset.samples import sample
from workers.dataset.schema import Sample
from workers.dataset.shards import shard_name

YEARS = 3 * 365 * 86_400


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.long)])
def stream(
    request: pytest.FixtureRequest, broker: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stream]:
    """Its settings are those of this process, too. What other tests have left on the broker is out of sight."""
    on_s3 = request.getfixturevalue("s3").as_settings() if request.param == "s3" else {}
    made = Stream(broker, prefix, tmp_path, 2, {**SMALL, **on_s3}).create()
    for name, value in made.environ.items():
        if name.startswith("IMGDIFF_"):
            monkeypatch.setenv(name, value)
    counts = Admin.partition_counts
    monkeypatch.setattr(
        Admin,
        "partition_counts",
        lambda self, needed=(): {name: n for name, n in counts(self, needed).items() if name.startswith(prefix)},
    )
    yield made
    made.end()


@pytest.fixture
def everything_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file looks as if it had been stored years ago."""
    stat, files = Storage.stat, Storage.files

    def aged(file: StoredFile) -> StoredFile:
        return StoredFile(file.path, file.size, file.modified - YEARS)

    monkeypatch.setattr(Storage, "stat", lambda self, path: aged(found) if (found := stat(self, path)) else None)
    monkeypatch.setattr(Storage, "files", lambda self, folder: [aged(file) for file in files(self, folder)])


def gc(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, dict[str, int]]]:
    """What the command says of each kind of file."""
    capsys.readouterr()
    assert main(["blobs", "gc", "--json", *arguments]) == 0
    found: dict[str, dict[str, dict[str, int]]] = json.loads(capsys.readouterr().out)["kinds"]
    return found


def counts(kinds: dict[str, dict[str, dict[str, int]]], kind: str) -> dict[str, int]:
    return {name: tally["files"] for name, tally in kinds[kind].items()}


def stored(storage: Storage) -> set[str]:
    return {file.path.rpartition("/")[2] for file in storage.files("images")}


def referring(stream: Stream, topic: str, digest: str) -> Message:
    return Message(stream.names.topic(topic), b"key", msgpack.packb({"sha256": digest}), [], 0)


def add_row(stream: Stream, blobs: Blobs, number: int) -> set[str]:
    """A row of the dataset whose record is in no topic (any more); the digests of its pictures."""
    given = sample(number)
    refs = {name: blobs.put_image(Image.open(BytesIO(data))) for name, data in given.pictures.items()}
    shards, mark = shards_of(stream), ShardMark(token=uuid4().hex, name=shard_name(0, number, number))
    shards.initialise()
    shards.write_pending(mark.token, [Sample(given.record.model_copy(update=refs), given.pictures, given.source)])
    shards.finish(mark)
    return {ref.sha256 for ref in refs.values()}


@contextmanager
def uncommitted(stream: Stream, message: Message) -> Iterator[None]:
    """The record lies in its topic, behind it others could be committed, and its transaction is open."""
    producer = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.open", 60)
    producer.begin()
    producer.send(message)
    partition = Partition(message.topic, message.partition or 0)
    with Admin(stream.settings.kafka) as admin:
        wait_until("the record is there", lambda: admin.log_ends([partition])[partition] > 0)
    try:
        yield
    finally:
        producer.abort()
        producer.close()


@pytest.mark.usefixtures("everything_is_old")
def test_what_a_topic_or_a_row_refers_to_stays(
    stream: Stream, broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs = Blobs(stream.settings.blobs)
    storage = Storage(stream.settings.blobs.url, stream.settings.blobs.options, "blobs.url")
    useless, dead, committed, open_one, others = (
        blobs.put(name.encode()) for name in ("useless", "dead letter", "committed", "not yet committed", "others")
    )
    in_rows = add_row(stream, blobs, 0)
    neighbour = Stream(broker, f"{stream.prefix}.neighbour", tmp_path).create()
    stream.produce([referring(stream, BOXES.rejected, dead)])
    neighbour.produce([referring(neighbour, "pairs", others)])
    with uncommitted(stream, referring(stream, "pairs", open_one)):
        stream.produce([referring(stream, "pairs", committed)])
        dry = gc(capsys, "--dry-run")
        assert useless in stored(storage)
        kinds = gc(capsys)
    assert kinds == dry
    needed = {dead, committed, open_one, others, *in_rows}
    assert counts(kinds, "pictures") == {
        "stored": len(needed) + 1,
        "referenced": len(needed),
        "young": 0,
        "removed": 1,
    }
    assert stored(storage) == needed
    assert blobs.reachable()


def test_all_partitions_are_read_together_and_again_only_what_has_come_since(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, each would cost a wait for the markers behind its last record."""
    topics = [stream.names.topic(topic) for topic in ("pairs", "boxes", BOXES.rejected)]
    stream.produce(Message(topic, None, b"", [], index) for topic in topics for index in range(stream.partitions))
    read: list[int] = []
    assign = KafkaConsumer.assign
    monkeypatch.setattr(
        KafkaConsumer, "assign", lambda self, partitions: read.append(len(partitions)) or assign(self, partitions)
    )
    gc(capsys, "--dry-run")
    assert read == [len(topics) * stream.partitions]


@pytest.mark.usefixtures("everything_is_old")
def test_ctrl_c_while_topics_are_read_ends_it_before_anything_is_judged(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = Blobs(stream.settings.blobs).put(b"useless")
    stream.produce([Message(stream.names.topic("pairs"), None, b"", [], 0)])
    monkeypatch.setattr(DigestSet, "add_all_in", lambda *_: signal.raise_signal(signal.SIGINT))
    assert main(["blobs", "gc"]) == 1
    said = capsys.readouterr()
    assert said.out == "", "a table of zeros would read like an empty store"
    assert "1 records read; the store has not been looked at, and nothing removed" in said.err
    assert "imgdiff: stopped" in said.err
    assert Blobs(stream.settings.blobs).get(digest)


def test_what_is_young_stays(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    blobs = Blobs(stream.settings.blobs)
    digest = blobs.put(b"its record comes in a moment")
    for arguments in ((), ("--older-than", "24h")):
        assert counts(gc(capsys, *arguments), "pictures") == {"stored": 1, "referenced": 0, "young": 1, "removed": 0}
    assert blobs.get(digest)


@pytest.mark.usefixtures("everything_is_old")
def test_old_crash_marks_go(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(stream.settings.blobs.url, stream.settings.blobs.options, "blobs.url")
    marks = CrashMarks(stream.settings.blobs, stream.names.group("boxes"))
    marks.prepare()
    storage.write(f"crash-marks/{stream.names.group('boxes')}/00000.000001.abc", b"{}")
    assert counts(gc(capsys), "crash marks") == {"stored": 1, "referenced": 0, "young": 0, "removed": 1}
    assert list(storage.files("crash-marks")) == []


@pytest.mark.long
@pytest.mark.usefixtures("everything_is_old")
def test_of_pending_shards_only_those_go_that_nobody_committed(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first sink dies with a shard that is not committed, the second one with another that is."""
    produce(stream)
    first = stream.start("workers.dataset", IMGDIFF_FAULT="dataset:after_seal:1:SIGKILL")
    assert first.wait(120) == -signal.SIGKILL
    assert counts(gc(capsys), "pending shards")["stored"] == 0, "no sink has said yet what it has committed"
    second = stream.start("workers.dataset", IMGDIFF_FAULT="dataset:after_commit:1:SIGKILL")
    assert second.wait(120) == -signal.SIGKILL
    kinds = gc(capsys)
    assert counts(kinds, "pending shards")["removed"] >= 1
    assert counts(gc(capsys), "pending shards")["removed"] == 0
    dataset = dataset_of(stream)
    assert list(Storage(dataset.url, dataset.options, "dataset.url").files("pending")), "committed, and not yet moved"
    third = stream.start("workers.dataset")
    stream.settle("dataset", "qa", 120)
    assert third.stop() == 0
    assert len(rows_in(shards_of(stream))) == ROWS


@pytest.mark.parametrize(
    ("change", "arguments", "code", "said"),
    [
        ({}, ["--older-than", "3h"], 64, "expected at least 24h"),
        ({}, ["--older-than", "soon"], 64, "expected a time"),
        ({"IMGDIFF_PREFIX": "nobodys"}, [], 78, "nobodys.captions does not exist"),
        ({"IMGDIFF_BLOBS__URL": "/nowhere"}, [], 78, "blobs.url"),
    ],
)
def test_mistakes_are_one_line(
    *,
    stream: Stream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    assert main(["blobs", "gc", *arguments]) == code
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1


@pytest.mark.usefixtures("everything_is_old")
def test_a_stream_that_is_out_of_sight_is_not_taken_for_one_that_needs_nothing(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another cluster, or of topics that this user may not see: both look as if they did not exist."""
    blobs = Blobs(stream.settings.blobs)
    digest = blobs.put(b"needed elsewhere")
    with Admin(stream.settings.kafka) as admin:
        here = admin.cluster_id()
    storage = Storage(stream.settings.blobs.url, stream.settings.blobs.options, "blobs.url")
    for other in (NotedStream(here, "hidden"), NotedStream("another", stream.prefix)):
        blobs.add_stream(other)
        assert main(["blobs", "gc"]) == 78
        found = capsys.readouterr().err
        assert f"the stream {other.prefix} of the cluster {other.cluster} stores its pictures there, too" in found
        assert f"delete the file {other.path}" in found
        assert found.count("\n") == 1
        assert blobs.get(digest)
        storage.delete(other.path)
    blobs.add_stream(NotedStream(here, stream.prefix))
    assert counts(gc(capsys), "pictures")["removed"] == 1


@pytest.mark.usefixtures("everything_is_old")
def test_a_dataset_that_is_out_of_sight_is_not_taken_for_an_empty_one(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = Blobs(stream.settings.blobs).put(b"useless, but who knows")
    offset = Committed(1, OffsetMetadata(counters=Counters(consumed=1, passed=1, outputs=1)).encode())
    monkeypatch.setattr(
        Admin, "group_offsets", lambda _, groups: {group: {Partition("qa", 0): offset} for group in groups}
    )
    assert main(["blobs", "gc"]) == 78
    assert "`dataset.url`: no dataset" in capsys.readouterr().err
    assert Blobs(stream.settings.blobs).get(digest)


def test_a_table_for_people(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    Blobs(stream.settings.blobs).put(b"pixels")
    assert main(["blobs", "gc", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert stream.prefix in said
    assert "\tstored\treferred to\ttoo young\twould be removed\tbytes\n" in said
    assert "pictures\t1\t0\t1\t0\t0\n" in said
