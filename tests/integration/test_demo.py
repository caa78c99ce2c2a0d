"""`imgdiff demo`: from an empty folder to a dataset and a contact sheet, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.kafka import Admin, TopicConfig
from common.settings import KafkaSettings
from ops.broker.local import LocalBroker
from tests.conftest import JARS
from tests.integration.kit import ROOT, wait_until
from tests.integration.stream_run import rows_of

pytestmark = pytest.mark.integration

COMMAND = (
    sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ops.cli.main import main; sys.exit(main())",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, but for Kafka's files, which are fetched once per checkout."""
    JARS.mkdir(parents=True, exist_ok=True)
    (tmp_path / ".imgdiff").mkdir()
    (tmp_path / ".imgdiff" / "jars").symlink_to(JARS)
    yield tmp_path
    home = tmp_path / ".imgdiff" / "demo"
    if home.exists():
        LocalBroker(home, jars=JARS).stop()


def started(folder: Path, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
    plain = {name: value for name, value in os.environ.items() if not name.startswith("IMGDIFF_")}
    return subprocess.Popen(
        [*COMMAND, "demo", *arguments], cwd=folder, env={**plain, **environ}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = started(folder, *arguments, **environ)
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def left_behind(folder: Path) -> list[str]:
    """Processes that have to do with this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                here = (entry / "cwd").resolve()
            except OSError:
                continue
            if str(folder) in line or here.is_relative_to(folder):
                found.append(line)
    return found


def check_adds_up(status: Mapping[str, Any]) -> None:
    arriving = status["ingested"]
    for worker in status["workers"]:
        assert worker["consumed"] == arriving, worker
        accounted = worker["passed"] + sum(worker["rejected"].values()) + sum(worker["failed"].values())
        assert worker["consumed"] == accounted, worker
        assert (worker["lag"], worker["failed"]) == (0, {})
        arriving = worker["outputs"]
    assert status["dataset"]["samples"] == arriving


@pytest.mark.long
def test_twice_from_a_clean_start_with_a_worker_killed_in_one(folder: Path) -> None:
    code, out, err = run(folder, "--limit", "60", "--json", IMGDIFF_FAULT="boxes:after_offsets:2:SIGKILL")
    assert code == 0, err
    status = json.loads(out)
    assert out.count("\n") == 1
    check_adds_up(status)
    assert status["ingested"] == 60
    assert [worker["members"] for worker in status["workers"]] == [1] * 6
    home = folder / ".imgdiff" / "demo"
    assert "boxes.1           | ended with SIGKILL" in (home / "workers.log").read_text()
    rows = rows_of(Path(status["dataset"]["path"]))
    assert len(rows) == len(set(rows)) == status["dataset"]["samples"] > 0
    assert (home / "dataset" / "README.md").exists()
    with Image.open(home / "contact-sheet.png") as sheet:
        assert sheet.width > 1_000
        sheet.verify()
    assert "every input is accounted for" in err
    assert "not photographs" in err
    assert left_behind(folder) == []

    code, out, err = run(folder, "--limit", "20")
    assert code == 0, err
    assert out.lstrip().startswith("20 captions in ")
    assert len(rows_of(home / "dataset")) < len(rows)
    assert [entry.name for entry in folder.iterdir()] == [".imgdiff"]
    assert left_behind(folder) == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_interrupted_in_mid_run_it_stops_everything(folder: Path, number: signal.Signals) -> None:
    process = started(folder, IMGDIFF_SKETCH__DELAY_S="0.5")
    log = folder / ".imgdiff" / "demo" / "workers.log"
    wait_until("workers work", lambda: log.exists() and log.read_text().count("assigned") >= 6)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert left_behind(folder) == []


def test_interrupted_while_kafka_starts_it_leaves_nothing(folder: Path) -> None:
    process = started(folder)
    state = folder / ".imgdiff" / "demo" / "broker" / "broker.json"
    wait_until("the broker is starting", state.exists, pause_s=0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert left_behind(folder) == []


def test_on_a_cluster_of_the_user_s_own(folder: Path, broker: str, prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=broker)
    with Admin(settings) as admin:
        admin.create_topics([TopicConfig(f"{prefix}.theirs", 1, 1, {})])
    captions = folder / "mine.jsonl"
    captions.write_text('{"caption": "A dog on a couch."}\n{"caption": "A cat near a bus."}\n')
    arguments = ("--captions", str(captions), "--json", "--set", f"prefix={prefix}", "--set", "topics.partitions=2")
    code, out, err = run(folder, *arguments, IMGDIFF_KAFKA__BOOTSTRAP_SERVERS=broker)
    assert code == 0, err
    check_adds_up(json.loads(out))
    assert f"the topics stay on your cluster, prefix {prefix}-demo-" in err
    assert not (folder / ".imgdiff" / "demo" / "broker").exists()
    with Admin(settings) as admin:
        found = admin.partition_counts()
    assert found[f"{prefix}.theirs"] == 1
    assert {count for name, count in found.items() if name.startswith(f"{prefix}-demo-")} == {1, 2}


@pytest.mark.long
def test_items_that_are_no_captions_are_a_failure(folder: Path, broker: str) -> None:
    captions = folder / "mine.jsonl"
    captions.write_text('{"caption": "A dog on a couch."}\nnothing of the kind\n')
    code, out, err = run(folder, "--captions", str(captions), IMGDIFF_KAFKA__BOOTSTRAP_SERVERS=broker)
    assert code == 1, err
    assert "NOT RIGHT: 1 items of the captions file are no captions" in out


def test_a_worker_that_can_not_run_ends_it_with_one_clear_line(folder: Path, broker: str) -> None:
    code, out, err = run(folder, "--set", "models.segmenter.adapter=magic", IMGDIFF_KAFKA__BOOTSTRAP_SERVERS=broker)
    assert code == 78
    assert out == ""
    assert "boxes.1 can not run as it is set up" in err.splitlines()[-1]
    assert "magic" in err.splitlines()[-1]
    assert left_behind(folder) == []


def test_a_file_of_captions_that_is_none_is_one_clear_line(folder: Path, broker: str) -> None:
    wrong = folder / "captions.parquet"
    wrong.write_text("not Parquet")
    code, out, err = run(folder, "--captions", str(wrong), IMGDIFF_KAFKA__BOOTSTRAP_SERVERS=broker)
    assert code == 1
    assert out == ""
    assert "captions.parquet" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.long
def test_captions_that_are_all_rejected_end_in_an_empty_dataset(folder: Path, broker: str) -> None:
    captions = folder / "mine.txt"
    captions.write_text("Clouds gather.\nWaves break.\n")
    code, out, err = run(folder, "--captions", str(captions), "--json", IMGDIFF_KAFKA__BOOTSTRAP_SERVERS=broker)
    assert code == 0, err
    status = json.loads(out)
    check_adds_up(status)
    assert (status["ingested"], status["dataset"]["samples"]) == (2, 0)
    assert (folder / ".imgdiff" / "demo" / "contact-sheet.png").exists()
