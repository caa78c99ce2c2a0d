"""`imgdiff dead-letters` over real topics."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.blobs import Blobs
from common.kafka import Message, Share
from common.runtime.errors import TransientError
from ops.cli.main import main
from ops.dead_letters import sharing
from schemas import codec, headers
from schemas.captions import Caption
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo
from schemas.headers import SourceCoordinates
from schemas.pairs import Pair
from schemas.record import Record
from schemas.scores import Bounds
from tests.integration.kit import ROOT, Stream, wait_until


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, partitions=3).create()
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    yield made
    made.end()


def caption(number: int) -> Caption:
    return Caption(id=f"c{number}", caption_id=f"c{number}", caption=f"Scene {number}", source="s", position=number)


def dead_letter(
    stream: Stream, topic: str, record: Record | bytes, source: str, *, reason: str, kind: DeadLetterKind,
    key: bytes = b"k", **more: Any,
) -> Message:  # fmt: skip
    coordinates = SourceCoordinates.parse(f"{stream.prefix}.{source}")
    letter = DeadLetter(
        kind=kind, reason=reason, source=coordinates, source_timestamp=1.0, worker="w/1", settings_digest="d",
        attempt=1, failed_at=2.5, **more,
    )  # fmt: skip
    schema = [] if isinstance(record, bytes) else [(headers.SCHEMA, record.schema_name().encode())]
    return Message(
        topic=stream.names.topic(topic),
        key=key,
        value=record if isinstance(record, bytes) else codec.encode(record),
        headers=[*schema, *letter.headers()],
        partition=coordinates.partition,
    )


def rejected(stream: Stream, number: int, source: str, reason: str = "unchanged") -> Message:
    return dead_letter(
        stream, "edits.rejected", caption(number), source, reason=reason, kind=DeadLetterKind.REJECTED,
        key=f"k{number}".encode(), scores={"added_words": Bounds(high=8).measure(number)},
    )  # fmt: skip


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["dead-letters", "list", "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_list_in_order_filtered_and_limited(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    error = ErrorInfo("ValueError", "boom", "trace")
    stream.produce(
        [
            rejected(stream, 5, "captions/2/0"),
            rejected(stream, 1, "captions/0/0"),
            rejected(stream, 9, "captions/1/0", reason="too_long"),
            rejected(stream, 2, "captions/0/7"),
            dead_letter(stream, "edits.failed", caption(3), "captions/0/8", reason="exception",
                        kind=DeadLetterKind.POISON, error=error),
            dead_letter(stream, "edits.failed", b"\xc1", "captions/0/9", reason="undecodable",
                        kind=DeadLetterKind.INVALID, detail="junk"),
        ]
    )  # fmt: skip
    everything = listed(capsys)
    assert [entry["id"] for entry in everything] == ["c1", "c2", "c9", "c5", "c3", None]
    assert everything[2] == {
        "stage": "edits",
        "kind": "rejected",
        "reason": "too_long",
        "attempt": 1,
        "id": "c9",
        "caption_id": "k9",
        "scores": {
            "added_words": {
                "value": 9.0, "low": None, "high": 8.0, "low_inclusive": False, "high_inclusive": False, "passes": False,
            }
        },
        "source": {"topic": f"{stream.prefix}.captions", "partition": 1, "offset": 0},
        "failed_at": 2.5,
        "error": None,
    }  # fmt: skip
    assert [entry["error"] for entry in everything[4:]] == ["ValueError: boom", "junk"]
    assert listed(capsys, "--reason", "too_long") == [everything[2]]
    assert listed(capsys, "--caption", "k9") == [everything[2]]
    assert listed(capsys, "--caption", "c9") == []
    assert listed(capsys, "--kind", "poison") == [everything[4]]
    assert listed(capsys, "--stage", "edits", "--limit", "2") == everything[:2]
    assert listed(capsys, "--stage", "pairs") == []


def test_a_list_for_people_is_a_line_each(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    stream.produce([rejected(stream, 9, "captions/1/0", reason="too_long")])
    assert main(["dead-letters", "list"]) == 0
    assert capsys.readouterr().out == (
        f"1970-01-01 00:00:02Z  {stream.prefix}.captions/1/0  k9  edits rejected too_long: "
        "added_words 9 too high for (-inf, 8)\n"
    )
    assert main(["dead-letters", "list", "--stage", "qa"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no dead letters\n")


@pytest.mark.parametrize("where", ["captions/2/40", "{prefix}.captions/2/40", "edits.rejected/2/1"])
def test_one_is_found_by_its_input_and_by_itself(
    stream: Stream, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    stream.produce([rejected(stream, 1, "captions/2/39"), rejected(stream, 2, "captions/2/40")])
    assert main(["dead-letters", "show", where.format(prefix=stream.prefix)]) == 0
    shown = capsys.readouterr().out
    assert f"input    {stream.prefix}.captions/2/40" in shown
    assert "caption: Scene 2" in shown


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("captions/2/41", "no dead letter of captions/2/41"),
        ("edits.rejected/2/41", "no record at edits.rejected/2/41"),
        ("edits.rejected/7/0", "has 3 partitions"),
        ("qa.outputs/0/0", "topic qa.outputs: expected one of captions, edits"),
    ],
)
def test_one_that_is_not_there_is_said_to_be(
    stream: Stream, capsys: pytest.CaptureFixture[str], where: str, line: str
) -> None:
    stream.produce([rejected(stream, 2, "captions/2/40")])
    assert main(["dead-letters", "show", where]) == 1
    said = capsys.readouterr()
    assert line in said.err
    assert said.err.count("\n") == 1


def test_those_of_one_caption_are_shown_together(
    stream: Stream, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stream.produce([rejected(stream, 1, "captions/2/39"), rejected(stream, 2, "captions/2/40")])
    again = dead_letter(stream, "pairs.failed", caption(2), "edits/2/7", reason="crash", kind=DeadLetterKind.POISON,
                        key=b"k2")  # fmt: skip
    stream.produce([again])
    assert main(["dead-letters", "show", "--caption", "k2"]) == 0
    shown = capsys.readouterr().out
    assert f"input    {stream.prefix}.captions/2/40" in shown
    assert f"\n\ndead letter {stream.names.topic('pairs.failed')}/2/0\n" in shown
    assert "captions/2/39" not in shown
    folder = tmp_path / "pictures"
    assert main(["dead-letters", "show", "--caption", "k2", "--save-images", str(folder)]) == 1
    said = capsys.readouterr()
    assert "2 dead letters of a caption k2: name one by its place, such as " in said.err
    assert said.out == ""
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--caption", "k7"], 1, "no dead letter of a caption k7"),
        ([], 64, "expected either TOPIC/PARTITION/OFFSET or --caption ID"),
        (["captions/2/40", "--caption", "k7"], 64, "expected either TOPIC/PARTITION/OFFSET or --caption ID"),
    ],
)
def test_show_asks_for_one_place_or_caption(
    stream: Stream, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, line: str
) -> None:
    assert main(["dead-letters", "show", *arguments]) == code
    said = capsys.readouterr()
    assert line in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["stats"], ["what-if", "--stage", "edits"]])
def test_processes_that_share_the_topics_count_what_one_counts(
    stream: Stream, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    stream.produce([rejected(stream, number, f"captions/{number % 3}/{number}") for number in range(30)])
    said = []
    for worth_it in (sharing.WORTH_IT, 1):
        monkeypatch.setattr(sharing, "WORTH_IT", worth_it)
        assert main(["dead-letters", *arguments, "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[1] == said[0]


def test_a_killed_process_is_one_line_and_no_count(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.produce([rejected(stream, number, f"captions/0/{number}") for number in range(3)])
    monkeypatch.setattr(sharing, "WORTH_IT", 1)
    with pytest.raises(TransientError, match="was killed"):
        sharing.of_shares(stream.settings, [stream.names.topic("edits.rejected")], killed)


def killed(_: Share) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


COMMAND = """
import os, sys
from common.settings import load_layers
from ops.dead_letters import sharing
from tests.integration.test_dead_letters import forever

if __name__ == "__main__":
    sharing.WORTH_IT = 1
    sharing.of_shares(load_layers(os.environ, None, []).common(), [sys.argv[1]], forever)
"""


@pytest.mark.long
def test_the_processes_end_with_a_command_that_is_killed(stream: Stream, tmp_path: Path) -> None:
    stream.produce([rejected(stream, 1, "captions/0/0")])
    notes = tmp_path / "processes"
    notes.mkdir()
    topic = stream.names.topic("edits.rejected")
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, topic], cwd=ROOT, env={**stream.environ, "NOTES": str(notes)}
    )
    try:
        wait_until("both are at work", lambda: len(list(notes.iterdir())) == sharing.PROCESSES, 60)
    finally:
        command.kill()
        command.wait(10)
    wait_until("both are gone", lambda: not any(Path("/proc", note.name).exists() for note in notes.iterdir()), 10)


def forever(_: Share) -> None:
    (Path(os.environ["NOTES"]) / str(os.getpid())).touch()
    time.sleep(600)


def test_its_pictures_are_saved(stream: Stream, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    blobs = Blobs(stream.settings.blobs)
    first, second = (blobs.put_image(Image.new("RGB", (8, 4), colour)) for colour in ("red", "blue"))
    pair = Pair(id="p", caption_id="c", caption="A", edited_caption="B", first=first, second=second)
    stream.produce(
        [dead_letter(stream, "boxes.rejected", pair, "pairs/1/0", reason="no_segments", kind=DeadLetterKind.REJECTED)]
    )
    assert main(["dead-letters", "show", "pairs/1/0", "--save-images", str(tmp_path / "pictures")]) == 0
    assert f"saved {tmp_path / 'pictures' / 'first.png'}" in capsys.readouterr().out
    with Image.open(tmp_path / "pictures" / "second.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (0, 0, 255)
