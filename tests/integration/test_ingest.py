"""Ingest on a real broker: every item exactly once, whatever interrupts it."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.kafka import ConsumedRecord, Message, TransactionalProducer, read_to_end
from common.runtime.errors import ConfigurationError
from common.runtime.exits import FencedError
from common.runtime.faults import Step
from ops.cli.main import main
from ops.ingest.ingest import Ingest, IngestResult, SourceProgress, ingest_files
from ops.ingest.progress import ingested_captions
from ops.ingest.readers import WrongFileError
from ops.ingest.settings import IngestSettings
from ops.transactions import InterruptedRunError
from schemas import codec
from schemas.captions import Caption
from schemas.dead_letters import DeadLetter
from schemas.headers import text_header
from tests.integration.kit import ROOT, Stream, wait_until

INGEST = (sys.executable, "-c", "from ops.cli.main import main; raise SystemExit(main())", "ingest")
SMALL = IngestSettings(batch_size=10)


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path).create()
    yield made
    made.end()


def records(stream: Stream, topic: str) -> list[ConsumedRecord]:
    return list(read_to_end(stream.settings.kafka, [stream.names.topic(topic)]))


def captions(stream: Stream) -> list[Caption]:
    """All committed captions, in the order of their positions."""
    found = [
        codec.decode(Caption, record.value, text_header(record.headers, "schema"))
        for record in records(stream, "captions")
    ]
    return sorted(found, key=lambda caption: (caption.source, caption.position))


def positions(stream: Stream) -> list[int]:
    return [caption.position for caption in captions(stream)]


def failures(stream: Stream) -> list[tuple[int, str]]:
    letters = [DeadLetter.parse(record.headers) for record in records(stream, "ingest.failed")]
    return sorted((letter.source.offset, letter.reason) for letter in letters)


def text_file(folder: Path, count: int, name: str = "captions.txt") -> Path:
    path = folder / name
    path.write_text("".join(f"a dog and {number} cats\n" for number in range(count)))
    return path


def ingest(stream: Stream, *paths: Path, section: IngestSettings = SMALL, **options: Any) -> IngestResult:
    return ingest_files(stream.settings, section, paths, **options)


def stop_after(batches: int) -> dict[str, Any]:
    """Options that stop an ingest in good order after so many batches."""
    reports: list[SourceProgress] = []
    return {"report": reports.append, "stopping": lambda: len(reports) > batches}


def command(stream: Stream, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*INGEST, *arguments],
        cwd=ROOT,
        env=stream.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_a_file_becomes_captions(stream: Stream, tmp_path: Path) -> None:
    result = ingest(stream, text_file(tmp_path, 25))
    assert (result.ingested, result.failed) == (25, 0)
    found = captions(stream)
    assert [caption.position for caption in found] == list(range(25))
    assert [caption.caption for caption in found][:2] == ["a dog and 0 cats", "a dog and 1 cats"]
    assert len({caption.id for caption in found}) == 25
    assert {record.partition.index for record in records(stream, "captions")} == {0, 1, 2, 3}
    assert ingested_captions(stream.settings.kafka, stream.prefix) == 25


def test_a_file_is_read_once_whatever_its_name(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 25)
    ingest(stream, path)
    again = ingest(stream, path.rename(tmp_path / "renamed.txt"))
    assert (again.ingested, again.sources[0].skipped, again.sources[0].complete) == (0, 25, True)
    assert positions(stream) == list(range(25))


def test_again_makes_new_captions(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 15)
    source = ingest(stream, path).sources[0].source
    stopped = ingest(stream, path, again=True, **stop_after(1))
    assert stopped.interrupted
    assert ingest(stream, path).sources[0].source == f"{source}+2", "an unfinished reading is finished first"
    assert ingest(stream, path, again=True).sources[0].source == f"{source}+3"
    found = captions(stream)
    assert Counter(caption.source for caption in found) == {source: 15, f"{source}+2": 15, f"{source}+3": 15}
    assert len({caption.id for caption in found}) == 45


def test_a_stopped_ingest_goes_on_where_it_stood(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 55)
    first = ingest(stream, path, **stop_after(2))
    assert first.interrupted
    assert 10 <= first.ingested < 55
    second = ingest(stream, path)
    assert second.sources[0].skipped == first.ingested
    assert first.ingested + second.ingested == 55
    assert positions(stream) == list(range(55))


def test_the_limit_is_of_the_source(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 30)
    assert ingest(stream, path, limit=12).ingested == 12
    assert ingest(stream, path, limit=12).ingested == 0
    assert ingest(stream, path, limit=20).ingested == 8
    rest = ingest(stream, path)
    assert (rest.ingested, rest.sources[0].complete) == (10, True)
    assert positions(stream) == list(range(30))


def test_bad_items_are_dead_letters_and_their_neighbours_arrive(stream: Stream, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_bytes(b'{"caption": "a dog", "id": 1}\n\xff\n{"caption": "a cat", "id": 1}\n{}\n{"caption": "a cow"}\n')
    result = ingest(stream, path)
    assert (result.ingested, result.failed) == (2, 3)
    assert positions(stream) == [0, 4]
    assert failures(stream) == [(1, "not_utf8"), (2, "duplicate_id"), (3, "no_caption")]
    assert sorted(record.value or b"" for record in records(stream, "ingest.failed")) == sorted(
        [b"\xff", b'{"caption": "a cat", "id": 1}', b"{}"]
    )


def test_an_id_given_before_the_restart_is_still_known(stream: Stream, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps({"caption": "a dog", "id": number % 20}) + "\n" for number in range(30)))
    ingest(stream, path, **stop_after(1))
    ingest(stream, path)
    assert positions(stream) == list(range(20))
    assert failures(stream) == [(position, "duplicate_id") for position in range(20, 30)]


def test_a_wrong_file_among_good_ones_writes_nothing(stream: Stream, tmp_path: Path) -> None:
    wrong = tmp_path / "instances.json"
    wrong.write_text('{"images": []}')
    with pytest.raises(WrongFileError, match="expected `annotations`"):
        ingest(stream, text_file(tmp_path, 5), wrong)
    assert captions(stream) == []


def test_a_file_that_grows_while_it_is_read(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 40)

    def grow(now: SourceProgress) -> None:
        if now.position == 20:
            with path.open("a") as file:
                file.write("one more\n")

    with pytest.raises(WrongFileError, match="changed while it was read"):
        ingest(stream, path, report=grow)
    assert positions(stream) == list(range(20))


def test_a_named_file_goes_on_where_it_grew_and_must_not_shrink(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 15)
    ingest(stream, path, name="mine")
    with path.open("a") as file:
        file.write("a cow\n")
    assert ingest(stream, path, name="mine").ingested == 1
    assert [caption.id for caption in captions(stream)] == sorted(
        (f"mine:#{position}" for position in range(16)), key=lambda each: int(each[6:])
    )
    text_file(tmp_path, 3)
    with pytest.raises(WrongFileError, match="ends after 3 items, but 16 have been read under the name mine"):
        ingest(stream, path, name="mine")


def test_a_second_ingest_of_a_file_takes_over(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 60)
    second: list[IngestResult] = []

    def meanwhile(now: SourceProgress) -> None:
        if now.position == 30 and not second:
            second.append(ingest(stream, path))

    with pytest.raises(FencedError, match="another ingest of this source"):
        ingest(stream, path, report=meanwhile)
    assert second[0].sources[0].skipped == 30
    assert positions(stream) == list(range(60))


def test_what_a_killed_ingest_left_open_is_undone(stream: Stream, tmp_path: Path) -> None:
    """Killed at any moment, and again: what is committed is each item once."""
    path = text_file(tmp_path, 3_000)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from common.settings import load_layers\n"
        "from ops.ingest.ingest import ingest_files\n"
        "from ops.ingest.settings import IngestSettings\n"
        "import os\n"
        "common = load_layers(os.environ).common()\n"
        "report = lambda now: print(now.position, flush=True)\n"
        "ingest_files(common, IngestSettings(batch_size=20), [Path(sys.argv[1])], report=report)\n"
    )
    for wait in (1, 7, 20):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], cwd=ROOT, env=stream.environ, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for _ in range(wait):
                process.stdout.readline()
            time.sleep(0.01 * wait / 7)
            process.kill()
    result = ingest(stream, path, section=IngestSettings())
    assert 0 < result.sources[0].skipped < 3_000
    assert positions(stream) == list(range(3_000))


def test_killed_at_its_own_steps(stream: Stream, tmp_path: Path) -> None:
    path = text_file(tmp_path, 20)
    stream.environ["IMGDIFF_INGEST__BATCH_SIZE"] = "4"
    for step in (Step.AFTER_BEGIN, Step.AFTER_SENDS, Step.AFTER_COMMIT):
        stream.environ["IMGDIFF_FAULT"] = f"ingest:{step}:2:SIGKILL"
        assert command(stream, str(path)).returncode == -signal.SIGKILL, step
    del stream.environ["IMGDIFF_FAULT"]
    assert command(stream, str(path)).returncode == 0
    assert positions(stream) == list(range(20))


def test_a_transaction_that_another_ingest_left_open_hides_no_progress(stream: Stream, tmp_path: Path) -> None:
    """Committed records behind an open transaction can not be read before it ends: what looks like the end is not."""
    path = text_file(tmp_path, 30)
    kafka = stream.settings.kafka
    killed = TransactionalProducer(kafka, stream.names.transactional_id("ingest", "killed"), 5)
    killed.begin()
    killed.send(Message(stream.names.topic("ingest-progress"), b"killed", b"", ()))
    killed._producer.flush()
    try:
        assert ingest(stream, path, limit=20).ingested == 20
        assert ingest(stream, path).sources[0].skipped == 20
    finally:
        killed.close()
    assert positions(stream) == list(range(30))


def test_topics_that_are_not_there(broker: str, prefix: str, tmp_path: Path) -> None:
    bare = Stream(broker, prefix, tmp_path)
    with pytest.raises(ConfigurationError, match="imgdiff topics create"):
        ingest(bare, text_file(tmp_path, 5))


class TestCommand:
    def test_json_and_exit_codes(self, stream: Stream, tmp_path: Path) -> None:
        path = text_file(tmp_path, 5)
        with path.open("ab") as file:
            file.write(b"\xff\n")
        done = command(stream, "--json", str(path))
        assert done.returncode == 1
        assert json.loads(done.stdout) == {
            "ingested": 5,
            "failed": 1,
            "interrupted": False,
            "sources": [
                {
                    "source": json.loads(done.stdout)["sources"][0]["source"],
                    "name": str(path),
                    "skipped": 0,
                    "ingested": 5,
                    "failed": 1,
                    "position": 6,
                    "complete": True,
                }
            ],
        }
        assert done.stderr == "imgdiff: 1 item is no caption: `imgdiff dead-letters list --stage ingest` lists it\n"
        again = command(stream, str(path))
        assert (again.returncode, again.stderr) == (0, "")
        assert "0 captions ingested, 6 items read before" in again.stdout

    def test_blank_lines_turn_no_job_red_and_shift_nobody(self, stream: Stream, tmp_path: Path) -> None:
        path = tmp_path / "captions.txt"
        path.write_text("\na dog\n\n")
        done = command(stream, str(path), "--source", "paragraphs")
        assert (done.returncode, done.stderr) == (0, "")
        assert ": 1 caption ingested (source paragraphs)" in done.stdout
        with path.open("a") as file:
            file.write("a cat\n")
        assert command(stream, str(path), "--source", "paragraphs").returncode == 0
        assert [caption.id for caption in captions(stream)] == ["paragraphs:#1", "paragraphs:#3"]

    def test_what_was_refused_is_shown_where_the_list_says_that_it_lies(
        self, stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, value in stream.environ.items():
            monkeypatch.setenv(name, value)
        path = tmp_path / "captions.jsonl"
        path.write_text('{"caption": "a dog"}\n{"id": "a6", "caption": 5}\n{"id": "a7"}\n')
        assert main(["ingest", str(path), "--source", "s2"]) == 1
        capsys.readouterr()
        assert main(["dead-letters", "list", "--caption", "s2:a6"]) == 0
        listed = capsys.readouterr().out
        assert "  ingest/s2/0/1  s2:a6  ingest invalid no_caption: line 2: field `caption`: found int, " in listed
        for asked in (["ingest/s2/0/1"], ["--caption", "s2:a6"]):
            assert main(["dead-letters", "show", *asked]) == 0
            assert capsys.readouterr().out.endswith('\n  {"id": "a6", "caption": 5}\n')
        assert main(["dead-letters", "show", "ingest/s2/0/0"]) == 1
        assert "no dead letter of ingest/s2/0/0: not in ingest.failed" in capsys.readouterr().err

    def test_a_wrong_file_is_one_line(self, stream: Stream, tmp_path: Path) -> None:
        done = command(stream, str(tmp_path / "absent.txt"))
        assert (done.returncode, done.stdout) == (64, "")
        assert (
            done.stderr == f"imgdiff: {tmp_path / 'absent.txt'}: No such file or directory, expected a file to read\n"
        )

    def test_standard_input_is_resumed_by_its_name(self, stream: Stream) -> None:
        lines = "".join(f"a dog and {number} cats\n" for number in range(20))
        for given in (lines[: lines.index("a dog and 10")], lines, lines):
            assert command(stream, "-", "--source", "pipe", input=given).returncode == 0
        assert [caption.id for caption in captions(stream)] == [f"pipe:#{position}" for position in range(20)]

    def test_a_slow_pipe_is_not_held_back_and_sigterm_keeps_what_came(self, stream: Stream) -> None:
        with subprocess.Popen(
            [*INGEST, "-", "--source", "pipe", "--set", "ingest.batch_wait_s=0.3"],
            cwd=ROOT,
            env=stream.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(b"a dog\n")
            process.stdin.flush()
            wait_until("the caption has been committed", lambda: positions(stream) == [0], 20)
            process.stdin.write(b"a cat\n")
            process.stdin.flush()
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 1, "the pipe is still open"
            assert process.stderr is not None
            assert process.stderr.read() == b"imgdiff: stopped; run the same command again to go on\n"
        assert positions(stream) == [0, 1]

    def test_a_watched_folder(self, stream: Stream, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        text_file(folder, 5, "settled.txt")
        faster = ("--set", "ingest.watch_interval_s=0.1", "--set", "ingest.watch_settled_s=1")
        with subprocess.Popen(
            [*INGEST, "--watch", str(folder), "--json", *faster],
            cwd=ROOT,
            env=stream.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            wait_until("the settled file is in", lambda: len(positions(stream)) == 5, 20)
            (folder / "notes.md").write_text("no captions")
            text_file(folder, 7, ".renamed.txt")
            time.sleep(0.3)
            (folder / ".renamed.txt").rename(folder / "renamed.txt")
            wait_until("the renamed file is in", lambda: len(positions(stream)) == 12, 20)
            time.sleep(1.2)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=20)
        assert json.loads(output)["ingested"] == 12
        assert process.returncode == 1
        assert "notes.md: found the suffix '.md'" in errors


def test_a_broker_that_does_not_answer_is_one_clear_error(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's transaction calls have no time-out of their own."""
    import common.kafka

    hang = threading.Event()
    monkeypatch.setattr(common.kafka.TransactionalProducer, "commit", lambda self: hang.wait())
    settings = stream.settings
    impatient = settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"broker_patience_s": 2.0})})
    work = Ingest(impatient, SMALL)
    with pytest.raises(InterruptedRunError, match="has not answered for 2 s"):
        work.ingest(work.open(text_file(tmp_path, 5)))
    hang.set()
