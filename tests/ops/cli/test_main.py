"""The command line as people meet it: quick help, one line for a mistake, and the exit code that says which."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.cli.main import CLOSED_PIPE, COMMANDS, INTERRUPTED, main

HEAVY = ("pydantic", "numpy", "kafka", "PIL", "pyarrow", "rich", "torch", "common.settings", "common.kafka")
HELP_S = 0.5


def imgdiff(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = "import sys; from ops.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60, cwd=cwd
    )


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from ops.cli.main import main; code = main(sys.argv[1:]); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert done.stdout.startswith("Usage: imgdiff")


@pytest.mark.parametrize("arguments", [["--help"], ["ingest", "--help"]])
def test_help_answers_at_once(arguments: list[str]) -> None:
    # Of this process's own work: how long it waits for others to leave the machine to it is not ours to promise.
    def seconds() -> float:
        before = os.times()
        assert imgdiff(*arguments).returncode == 0
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    assert min(seconds() for _ in range(3)) < HELP_S


def test_every_command_is_where_the_table_says() -> None:
    for name, lazy in COMMANDS.items():
        command = lazy.load()
        assert command.name == name
        assert command.help


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["brokr"], 64, "imgdiff: No such command 'brokr'. Did you mean 'broker'? (see imgdiff --help)"),
        (["status", "--wach"], 64, "imgdiff status: No such option '--wach'."),
        (["worker", "bxes"], 64, "imgdiff worker: no worker 'bxes', expected one of edits, pairs, boxes, region-captions"),
        (["up", "--workers", "bxes=3"], 64, "imgdiff up: --workers bxes=3: expected NAME=N"),
        (["up", "--device", "boxes=gpu"], 64, "imgdiff up: --device boxes=gpu: expected DEVICE or NAME=DEVICE"),
        (["up", "--device", "bxes=cuda"], 64, "imgdiff up: --device bxes=cuda: expected DEVICE or NAME=DEVICE"),
        (["worker", "qa", "--device", "gpu"], 78, "imgdiff: setting `compute.device` (from --set compute.device)"),
        (["up", "--workers", "boxes=-1"], 64, "imgdiff up: --workers boxes=-1: expected NAME=N"),
        (["up", "--set", "http.port=80"], 78, "imgdiff: setting `http.port` (from --set http.port): found 80, expected 0"),
        (["demo", "--captions", "/nowhere.txt"], 64, "imgdiff demo: Invalid value for '--captions'"),
        (["dead-letters", "show", "pairs"], 64, "imgdiff dead-letters show: pairs: expected TOPIC/PARTITION/OFFSET"),
        (["dead-letters", "list", "--stage", "bxes"], 64, "imgdiff dead-letters list: no stage 'bxes', expected one of"),
        (["dead-letters", "list", "--limit", "0"], 64,
         "imgdiff dead-letters list: Invalid value for '--limit': 0 is not in the range x>=1."),
        (["dead-letters", "list", "--reason", "too_lng"], 64,
         "imgdiff dead-letters list: --reason: no reason 'too_lng', expected one of nothing_to_replace, empty_reply"),
        (["dead-letters", "replay", "--stage", "edits", "--reason", "no_segments"], 64,
         "imgdiff dead-letters replay: --reason: no reason 'no_segments' of edits, expected one of nothing_to_replace"),
        (["dead-letters", "purge", "--stage", "boxes", "--kind", "poison", "--reason", "no_segments"], 64,
         "imgdiff dead-letters purge: --reason: no reason 'no_segments' of boxes and kind poison, expected one of "
         "exception, out_of_memory, output_too_large, crash (see"),
        (["dead-letters", "stats", "--stage", "ingest", "--kind", "rejected", "--reason", "bad_id"], 64,
         "imgdiff dead-letters stats: --reason: no reason 'bad_id' of ingest and kind rejected, expected none"),
        (["dead-letters", "stats", "--since", "1h", "--until", "2h"], 64,
         "imgdiff dead-letters stats: --since 1h --until 2h: expected the earlier time first"),
        (["dead-letters", "what-if", "--set", "boxes.batch_size=3"], 64,
         "imgdiff dead-letters what-if: --set boxes.batch_size: changes no filter, expected one of edits.added_marks"),
        (["dead-letters", "what-if", "--stage", "qa", "--set", "boxes.pair_similarity.low=0.8"], 64,
         "imgdiff dead-letters what-if: --set boxes.pair_similarity.low: changes no filter of qa, expected one of "
         "qa.naturalness, qa.check_naturalness (see"),
        (["dead-letters", "what-if", "--stage", "qa", "--set", "runtime.max_attempts=4"], 64,
         "imgdiff dead-letters what-if: --set runtime.max_attempts: changes no filter of qa, expected one of"),
        (["dead-letters", "what-if", "--stage", "qa", "--set", "boxes={}"], 64,
         "imgdiff dead-letters what-if: --set boxes: changes no filter of qa, expected one of"),
        (["settings", "--set", "prefix=?"], 78, "imgdiff: setting `prefix` (from --set prefix)"),
        (["settings", "--settings", "/nowhere.toml"], 78, "imgdiff: settings file /nowhere.toml: No such file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1


def test_without_a_command_it_shows_help_and_says_that_one_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 64
    assert "Commands:" in capsys.readouterr().err


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = imgdiff("status", "--set", "kafka.bootstrap_servers=127.0.0.1:1", cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "127.0.0.1:1" in done.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("common.settings.load_layers", broken)
    with pytest.raises(ZeroDivisionError):
        main(["settings"])


def test_a_path_that_the_system_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broker", "stop", "--home", "a" * 300]) == 1
    said = capsys.readouterr().err
    assert said.startswith("imgdiff: [Errno 36] File name too long: ")
    assert said.count("\n") == 1


def test_an_error_of_the_system_about_no_path_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("common.settings.load_layers", broken)
    with pytest.raises(OSError, match="Input/output"):
        main(["settings"])


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("common.settings.load_layers", interrupted)
    assert main(["settings"]) == INTERRUPTED
    assert capsys.readouterr().err.strip() == ""


def test_a_pipe_that_nobody_reads_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from ops.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "settings"], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (CLOSED_PIPE, b"")


def test_settings_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--json", "--set", "boxes.batch_size=3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["boxes.batch_size"] == {"value": 3, "from": "--set boxes.batch_size"}


def test_settings_that_were_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--changed", "--set", "boxes.batch_size=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "boxes.batch_size\t3\t--set boxes.batch_size" in lines
    assert not any("default" in line for line in lines)
