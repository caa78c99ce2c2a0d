"""Texts and names from records, models and files: harmless to a terminal, to a page, and to the file system."""

import io
import json
import logging
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from PIL import Image

from common.blobs import Blobs
from common.kafka import Message
from common.logs import configure_logging
from ops.cli.main import main
from ops.dataset.card import card_of
from ops.dataset.statistics import ModelName, ScoreName, Statistics, Summary
from schemas import codec, headers
from schemas.captions import Caption
from schemas.counters import Counters, OffsetMetadata
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo
from schemas.headers import SourceCoordinates
from schemas.pairs import Pair
from schemas.scores import Bounds
from schemas.topics import EDITS
from schemas.trail import Candidate
from tests.integration.kit import Stream

STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066\u200b\x9b31m\r\n2026-01-01 00:00:00,000 ERROR forged"
"""A window's title, a cleared screen, text from right to left, characters that nobody sees, another line."""

CLIMBING = "../../../etc/passwd"


def harmless(text: str) -> bool:
    return not {c for c in text if unicodedata.category(c) in STEERING and c not in "\n\t"} and not any(
        line.startswith("2026-01-01 00:00:00,000 ERROR forged") for line in text.splitlines()
    )


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, partitions=1).create()
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    yield made
    made.end()


def letter(stream: Stream, kind: DeadLetterKind, offset: int) -> DeadLetter:
    """One of whose every text somebody else has chosen."""
    return DeadLetter(
        kind=kind,
        reason=f"reason{HOSTILE}",
        source=SourceCoordinates(f"{stream.prefix}.captions", 0, offset),
        source_timestamp=1.0,
        worker=f"edits{HOSTILE}",
        settings_digest=HOSTILE,
        attempt=1,
        failed_at=2.0,
        detail=HOSTILE,
        scores={f"score{HOSTILE}": Bounds(low=1).measure(0)},
        candidates=[Candidate(label=HOSTILE, reason=HOSTILE)],
        error=ErrorInfo(f"Error{HOSTILE}", HOSTILE, f"Traceback{HOSTILE}"),
    )


def fill(stream: Stream) -> None:
    caption = Caption(id=HOSTILE, caption_id=HOSTILE, caption=HOSTILE, source=HOSTILE, position=0)
    schema = (headers.SCHEMA, Caption.schema_name().encode())
    hostile = (HOSTILE, HOSTILE.encode())
    key = HOSTILE.encode()
    stream.produce(
        [
            Message(
                stream.names.topic(EDITS.rejected),
                key,
                codec.encode(caption),
                [schema, hostile, *letter(stream, DeadLetterKind.REJECTED, 0).headers()],
            ),
            Message(
                stream.names.topic(EDITS.failed),
                key,
                HOSTILE.encode(),
                [hostile, *letter(stream, DeadLetterKind.POISON, 1).headers()],
            ),
            Message(stream.names.topic(EDITS.failed), key, HOSTILE.encode(), [hostile]),
        ]
    )


def count_hostile_reasons(stream: Stream) -> None:
    """Commit counters for `edits`, as anybody may who has the right to its group."""
    counters = Counters(consumed=1, failed={f"reason{HOSTILE}": 1})
    metadata = OffsetMetadata(counters=counters).encode()
    producer = KafkaProducer(
        bootstrap_servers=stream.broker, transactional_id=f"{stream.prefix}.forger", allow_auto_create_topics=False
    )
    producer.init_transactions()
    producer.begin_transaction()
    offsets = {TopicPartition(stream.names.topic("captions"), 0): OffsetAndMetadata(0, metadata, -1)}
    producer.send_offsets_to_transaction(offsets, stream.names.group("edits"))
    producer.commit_transaction()
    producer.close()


@pytest.mark.long
def test_no_command_says_what_steers_a_terminal(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    fill(stream)
    count_hostile_reasons(stream)
    rejected, failed = EDITS.rejected, EDITS.failed
    for arguments in (
        ["status"],
        ["status", "--json"],
        ["dead-letters", "list"],
        ["dead-letters", "list", "--json"],
        ["dead-letters", "list", "--reason", HOSTILE],
        ["dead-letters", "stats"],
        ["dead-letters", "what-if", "--stage", "edits"],
        ["dead-letters", "show", f"{rejected}/0/0"],
        ["dead-letters", "show", f"{failed}/0/0"],
        ["dead-letters", "show", f"{failed}/0/1"],
        ["dead-letters", "show", f"{HOSTILE}/0/1"],
        ["dead-letters", "replay", "--stage", "edits", "--reason", HOSTILE, "--dry-run"],
    ):
        main(arguments)
        said = capsys.readouterr()
        assert said.out or said.err, arguments
        assert harmless(said.out), arguments
        assert harmless(said.err), arguments
    main(["dead-letters", "list"])
    assert len(capsys.readouterr().out.splitlines()) == 3, "one line each"
    main(["status"])
    assert r"\x1b[2J" in capsys.readouterr().out, "the hostile reason has been shown"


def test_ingest_says_nothing_that_steers_a_terminal(
    stream: Stream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b[2J\u202ename"
    lines = tmp_path / f"{hostile}.jsonl"
    lines.write_text(json.dumps({"caption": 7, HOSTILE: HOSTILE}) + "\n" + json.dumps({"caption": "A dog."}) + "\n")
    for source in (lines, tmp_path / f"{hostile}.unknown", tmp_path / f"{hostile}.parquet"):
        if source is not lines and source.suffix == ".parquet":
            source.write_text(HOSTILE)
        main(["ingest", str(source)])
        said = capsys.readouterr()
        assert said.out or said.err
        assert harmless(said.out + said.err)


def test_a_workers_log_has_only_its_own_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        configure_logging("edits")
        try:
            raise ValueError(HOSTILE)
        except ValueError as error:
            logging.getLogger("x").error("a record: %s", HOSTILE, exc_info=error)
    finally:
        root.handlers[:], root.level = before
    assert harmless(stream.getvalue())
    assert r"\x1b[2J\u202egnp.exe" in stream.getvalue()


def test_a_datasets_card_has_no_markup_but_its_own() -> None:
    hostile = f"`<script>alert(1)</script>![x](http://evil)**|{HOSTILE}\n# Owned"
    statistics = Statistics()
    statistics.samples = 1
    statistics.models.add(ModelName(stage=hostile, role=hostile, id=hostile, revision=hostile, variant=hostile))
    summary = Summary()
    summary.add(1.0)
    statistics.scores[ScoreName(hostile, hostile, 0.0, None)] = summary
    card = card_of(statistics, "paper", [("edits", Counters(consumed=1, rejected={hostile: 1}))])
    assert harmless(card)
    outside_code = "".join(part for line in card.splitlines() for part in line.split("`")[::2])
    for markup in ("<script", "![x]", "](http://evil", "# Owned"):
        assert markup not in outside_code
    assert sum(line.startswith("# ") for line in card.splitlines()) == 1
    assert "alert" in card, "it has been written"


def test_no_name_from_a_record_becomes_a_path(
    stream: Stream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs = Blobs(stream.settings.blobs)
    picture = blobs.put_image(Image.new("RGB", (8, 4), "red")).model_copy(update={"media_type": f"image/{CLIMBING}"})
    name = f"{CLIMBING}\0/x"
    pair = Pair(id=name, caption_id=name, caption="A", edited_caption="B", first=picture, second=picture)
    dead = DeadLetter(
        kind=DeadLetterKind.REJECTED,
        reason=CLIMBING,
        source=SourceCoordinates(CLIMBING, 0, 0),
        source_timestamp=1.0,
        worker=CLIMBING,
        settings_digest=CLIMBING,
        attempt=1,
        failed_at=2.0,
    )
    schema = (headers.SCHEMA, Pair.schema_name().encode())
    stream.produce(
        [
            Message(stream.names.topic("boxes.rejected"), name.encode(), codec.encode(pair), [schema, *dead.headers()]),
            Message(stream.names.topic("boxes.rejected"), name.encode(), codec.encode(pair), [schema]),
        ]
    )
    folder = tmp_path / "a" / "b" / "saved"
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    for offset in (0, 1):
        assert main(["dead-letters", "show", f"boxes.rejected/0/{offset}", "--save-images", str(folder)]) == 0
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.relative_to(folder).as_posix() for path in after - before} == {"first.bin", "second.bin"}
    assert harmless(capsys.readouterr().out)


@pytest.mark.long
def test_a_record_whose_picture_is_a_path_is_refused_by_its_worker(stream: Stream) -> None:
    """And names with slashes and NUL pass through a worker, as names."""
    fields = {"id": "p", "caption_id": "p", "caption": "A", "edited_caption": "B", "trail": []}
    reference = {"sha256": CLIMBING, "width": 8, "height": 4, "byte_size": 9, "media_type": "image/png"}
    value = msgpack.packb(fields | {"first": reference, "second": reference})
    stream.produce([Message(stream.names.topic("pairs"), b"p", value, [(headers.SCHEMA, b"pairs/1")])])
    name = f"{CLIMBING}\0/x"
    caption = Caption(id=name, caption_id=name, caption="A dog.", source=CLIMBING, position=0)
    stream.produce(
        [
            Message(
                stream.names.topic("captions"), name.encode(), codec.encode(caption), [(headers.SCHEMA, b"captions/1")]
            )
        ]
    )
    boxes, probe = stream.start("workers.boxes"), stream.start("tests.integration.probe")
    stream.settle("boxes", "pairs")
    stream.settle("edits", "captions")
    assert boxes.stop() == 0
    assert probe.stop() == 0
    assert stream.counters("boxes").failed == {"schema_broken": 1}
    assert stream.counters("edits").passed == 1
    (edit,) = stream.read("edits")
    assert edit.key == name.encode()
