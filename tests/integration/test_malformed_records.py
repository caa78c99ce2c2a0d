"""Bad records in real topics: a worker goes on among them, and every command says something about them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from common.kafka import ConsumedRecord, Message
from ops.cli.main import main
from ops.dead_letters.reading import found_letter
from schemas import codec
from schemas.captions import Caption
from schemas.dead_letters import DeadLetterKind, input_headers
from schemas.headers import SCHEMA, text_header
from schemas.invalid import InvalidRecord
from schemas.topics import EDITS, TOPICS
from tests.integration.kit import ROOT, Stream
from tests.malformed.mutation import EXTREME_TEXTS, broken_bytes
from tests.malformed.records import ENCODED, LETTER
from tests.malformed.words import broken_arguments, judge

BAD = 300
GOOD = 60
COMMANDS: Sequence[Sequence[str]] = (
    ("dead-letters", "list"),
    ("dead-letters", "list", "--json"),
    ("dead-letters", "show", "boxes.rejected/0/0"),
    ("dead-letters", "stats"),
    ("dead-letters", "what-if", "--set", "boxes.pair_similarity.low=0.1"),
    ("dead-letters", "replay", "--stage", "boxes", "--dry-run"),
    ("dead-letters", "replay", "--stage", "edits"),
    ("dead-letters", "purge", "--stage", "boxes"),
    ("status",),
    ("topics", "drift"),
)


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, partitions=2).create()
    yield made
    made.end()


def test_a_worker_among_bad_records_fails_each_once_and_works_on_the_others(stream: Stream) -> None:
    random = Random("a worker among bad records")
    good = [stream.caption_message(f"caption {number}", number) for number in range(GOOD)]
    bad = [_bad(random, random.choice(good)) for _ in range(BAD)]
    messages = [*good, *bad]
    random.shuffle(messages)
    stream.produce(messages)
    worker = stream.start("tests.integration.probe")
    stream.settle("edits", "captions", 120)

    recount = stream.recount(EDITS)
    assert (recount.inputs, len(recount.outputs), recount.rejected) == (BAD + GOOD, GOOD, {})
    assert len(recount.failed) == BAD
    assert stream.counters("edits") == recount.counters
    inputs = {f"{r.partition.topic}/{r.partition.index}/{r.offset}": r for r in stream.read("captions")}
    for record in stream.read("edits.failed"):
        letter = found_letter("edits.failed", record).letter
        assert letter is not None
        assert (letter.kind, letter.attempt) == (DeadLetterKind.INVALID, 1)
        _same(record, inputs[str(letter.source)])
    assert worker.stop() == 0
    assert "Traceback" not in worker.log


@pytest.mark.long
def test_commands_over_topics_full_of_junk(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random = Random("topics full of junk")
    for name, value in stream.environ.items():
        monkeypatch.setenv(name, value)
    letters = LETTER.headers()
    dead = [topic.name for topic in TOPICS if topic.name.endswith((".rejected", ".failed"))]
    stream.produce(
        Message(
            topic=stream.names.topic(topic),
            key=random.choice((None, b"\xff", b"photos:1")),
            value=broken_bytes(random, random.choice(ENCODED), ENCODED),
            headers=[
                (name, broken_bytes(random, value) if random.random() < 0.2 else value) for name, value in letters
            ],
            partition=number % 2,
        )
        for topic in [*dead, "pairs", "boxes"]
        for number in range(12)
    )
    for arguments in COMMANDS:
        code = main(arguments)
        said = capsys.readouterr()
        judge(arguments, code, said.out, said.err)
    for topic in ("ingest-progress", "edits.replayed"):
        stream.produce([Message(stream.names.topic(topic), b"job/1", broken_bytes(random, ENCODED[0]), [], 0)])
    for arguments in (("status",), ("dead-letters", "replay", "--stage", "edits")):
        code = main(arguments)
        said = capsys.readouterr()
        judge(arguments, code, said.out, said.err)
        assert code == 78
        assert "something else wrote to this topic" in said.err


@pytest.mark.long
@pytest.mark.parametrize("number", range(24))
def test_bad_command_lines_as_processes(number: int, tmp_path: Path) -> None:
    arguments = [text.encode("utf-8", "replace").decode() for text in broken_arguments(Random(f"processes {number}"))]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IMGDIFF_")}
    ended = subprocess.run(
        [sys.executable, "-c", "from ops.cli.main import main; raise SystemExit(main())", *arguments],
        cwd=tmp_path, env={**environ, "IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    judge(arguments, ended.returncode, ended.stdout, ended.stderr)


def _bad(random: Random, good: Message) -> Message:
    """A record that is no caption, made of one that is."""
    while True:
        made = good
        match random.randrange(6):
            case 0:
                made = replace(good, value=random.choice((b"", random.choice(ENCODED), None)))
            case 1:
                made = replace(good, headers=[])
            case 2:
                made = replace(good, headers=[(SCHEMA, random.choice(EXTREME_TEXTS).encode())])
            case 3:
                made = replace(good, headers=[*good.headers, ("dlq.attempt", b"\xff"), (SCHEMA, b"captions/2")])
            case _:
                made = replace(good, value=broken_bytes(random, good.value or b"", ENCODED))
        if random.random() < 0.3 and made.value is not None:
            made = replace(made, key=random.choice((None, b"", b"\xff\x00", b"k" * 3_000)))
        try:
            codec.decode(Caption, made.value, text_header(made.headers, SCHEMA))
        except InvalidRecord:
            return made


def _same(letter: ConsumedRecord, given: ConsumedRecord) -> None:
    assert (letter.key, letter.value, letter.partition.index) == (given.key, given.value, given.partition.index)
    assert input_headers(letter.headers) == input_headers(given.headers)
