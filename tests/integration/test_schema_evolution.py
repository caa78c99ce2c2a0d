"""A new version of a record type goes out while the stream runs: readers first, or, by mistake, writers first."""

import json
import subprocess
import sys

import msgpack
import pytest

from common.kafka import ConsumedRecord
from schemas import headers
from schemas.counters import Counters
from schemas.dead_letters import ATTEMPT
from schemas.headers import text_header
from schemas.topics import EDITS, PAIRS
from tests.integration.evolution import BEFORE
from tests.integration.kit import ROOT, Stream, WorkerProcess

MODULE = "tests.integration.evolution"


def start(stream: Stream, role: str, release: int) -> WorkerProcess:
    return stream.start(
        MODULE,
        f"{role}-{release}-{len(stream.processes)}",
        EVOLUTION_ROLE=role,
        EVOLUTION_RELEASE=str(release),
        IMGDIFF_EDITS__BATCH_SIZE="4",
        IMGDIFF_PAIRS__BATCH_SIZE="2",
        IMGDIFF_SKETCH__DELAY_S="0.05",
    )


def produce(stream: Stream, start_at: int, count: int) -> None:
    stream.produce_captions([f"a dog {start_at + i}" for i in range(count)], start_at)


def schemas(records: list[ConsumedRecord]) -> dict[str, int]:
    found = [text_header(record.headers, headers.SCHEMA) or "" for record in records]
    return {schema: found.count(schema) for schema in sorted(set(found))}


def texts(stream: Stream) -> list[str]:
    """What became of every caption, by the pairs."""
    return sorted(msgpack.unpackb(record.value)["edited_caption"] for record in stream.read("pairs"))


def command(stream: Stream, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", "import sys; from ops.cli.main import main; sys.exit(main())", *arguments],
        cwd=ROOT,
        env=stream.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    made = Stream(broker, prefix, tmp_path_factory.mktemp("stream")).create()
    yield made
    made.end()


@pytest.mark.long
def test_readers_first_and_nobody_notices(stream: Stream) -> None:
    """Old records lie in the topic, old and new readers share it, and the writers follow."""
    writer = start(stream, "writer", 1)
    readers = [start(stream, "reader", 1), start(stream, "reader", 1)]
    produce(stream, 0, 40)
    stream.settle("edits", "captions")
    readers.append(start(stream, "reader", 2))  # while the others are at work
    assert readers[0].stop() == 0, readers[0].log
    produce(stream, 40, 10)
    stream.settle("edits", "captions")
    readers.append(start(stream, "reader", 2))
    assert readers[1].stop() == 0, readers[1].log
    produce(stream, 50, 10)  # old ones, and nobody is left to read them but new readers
    stream.settle("edits", "captions")
    stream.settle("pairs", "edits")
    new_writer = start(stream, "writer", 2)
    assert writer.stop() == 0, writer.log
    produce(stream, 60, 40)
    stream.settle("edits", "captions")
    stream.settle("pairs", "edits")
    for process in (*readers[2:], new_writer):
        assert process.stop() == 0, process.log

    assert stream.recount(EDITS).counters == stream.counters("edits")
    recount = stream.recount(PAIRS)
    assert recount.counters == stream.counters("pairs") == Counters(consumed=100, passed=100, outputs=100)
    found = schemas(stream.read("edits"))
    assert set(found) == {"edits/1", "edits/2"}
    assert found["edits/1"] >= 60
    made = texts(stream)
    assert len(made) == len({text.partition(",")[0] for text in made}) == 100
    assert sum(text.endswith("(en)") for text in made) == found["edits/2"]
    assert sum(text.endswith(f"({BEFORE})") for text in made) > 0, "new readers have read old records"


@pytest.mark.long
def test_writers_first_is_put_right_by_a_replay(stream: Stream) -> None:
    """What an old reader can not read waits in `failed`, byte for byte, until the reader can."""
    old_writer, old_reader = start(stream, "writer", 1), start(stream, "reader", 1)
    produce(stream, 0, 8)
    stream.settle("edits", "captions")
    assert old_writer.stop() == 0, old_writer.log
    writer = start(stream, "writer", 2)
    produce(stream, 8, 12)
    stream.settle("edits", "captions")
    stream.settle("pairs", "edits")
    assert stream.recount(PAIRS).counters == Counters(consumed=20, passed=8, outputs=8, failed={"schema_newer": 12})
    failed = stream.read("pairs.failed")
    assert schemas(failed) == {"edits/2": 12}
    (first, *_) = [json.loads(line) for line in command(stream, "dead-letters", "list", "--json").splitlines()]
    shown = command(stream, "dead-letters", "show", "/".join(str(part) for part in first["source"].values()))
    assert "'edits/2' is newer than this worker reads, expected edits/1 or older" in shown

    assert old_reader.stop() == 0, old_reader.log
    reader = start(stream, "reader", 2)
    sent = json.loads(
        command(stream, "dead-letters", "replay", "--stage", "pairs", "--reason", "schema_newer", "--json")
    )
    assert sent["sent"] == 12
    stream.settle("pairs", "edits")
    for process in (reader, writer):
        assert process.stop() == 0, process.log

    originals = {(record.key, record.value) for record in failed}
    copies = [record for record in stream.read("edits") if text_header(record.headers, ATTEMPT) is not None]
    assert {(record.key, record.value) for record in copies} == originals
    made = texts(stream)
    assert len(made) == len({text.partition(",")[0] for text in made}) == 20
    assert sum(text.endswith("(en)") for text in made) == 12
    total = stream.recount(PAIRS).counters
    assert total == stream.counters("pairs")
    assert (total.consumed, total.passed, total.failed) == (32, 20, {"schema_newer": 12})
