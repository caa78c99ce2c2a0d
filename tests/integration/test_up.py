"""`imgdiff up`: all workers as people start them, one killed, and everything stopped in good order."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from common.settings import load_layers
from ops.ingest.ingest import ingest_files
from ops.ingest.settings import IngestSettings
from ops.status import StreamStatus
from ops.stream import open_status
from tests.integration.kit import ROOT, Stream, wait_until
from tests.integration.stream_run import CAPTIONS, rows_of

COMMAND = (sys.executable, "-c", "import sys; from ops.cli.main import main; sys.exit(main())")


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, partitions=3, environ={"IMGDIFF_DATASET__BATCH_WAIT_S": "0.5"}).create()
    yield made
    made.end()


class Up:
    """A running `imgdiff up`."""

    def __init__(self, stream: Stream, *arguments: str) -> None:
        self.log_path = stream.folder / "up.log"
        self.targets = stream.folder / "prometheus" / "targets.json"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--targets", str(self.targets), *arguments],
                cwd=ROOT, env=stream.environ, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def pids(self, name: str) -> list[int]:
        """The processes that this program has been, the last one last."""
        return [int(pid) for pid in re.findall(rf"^{name} +\| started as process (\d+)$", self.log, re.MULTILINE)]

    def all_pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"\| started as process (\d+)$", self.log, re.MULTILINE)]

    def port(self, name: str) -> str:
        groups = json.loads(self.targets.read_text())
        address: str = next(g["targets"][0] for g in groups if g["labels"]["process"] == name)
        return address

    def ready(self, name: str) -> bool:
        try:
            with urlopen(f"http://{self.port(name)}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def status_of(stream: Stream) -> StreamStatus:
    with open_status(load_layers(stream.environ)) as reader:
        return reader.read()


@pytest.mark.long
def test_a_worker_that_is_killed_comes_back_and_everything_adds_up(stream: Stream) -> None:
    captions = stream.folder / "captions.txt"
    captions.write_text("\n".join(CAPTIONS))
    up = Up(stream, "--workers", "boxes=2")
    try:
        names = ["edits.1", "pairs.1", "boxes.1", "boxes.2", "region-captions.1", "qa.1", "dataset.1"]
        wait_until("the targets file", up.targets.exists)
        assert [group["labels"]["process"] for group in json.loads(up.targets.read_text())] == names
        wait_until("all workers are ready", lambda: all(map(up.ready, names)))

        ingest_files(stream.settings, IngestSettings(), [captions])
        os.kill(up.pids("boxes.1")[0], signal.SIGKILL)
        wait_until("it was started again", lambda: len(up.pids("boxes.1")) == 2)
        wait_until("it is ready again", lambda: up.ready("boxes.1"))
        assert "ended with SIGKILL" in up.log

        wait_until("everything has passed", lambda: not (found := status_of(stream)).lag and not found.gaps(), 90, 0.5)
        found = status_of(stream)
        assert found.ingested == len(CAPTIONS)
        assert [worker.members for worker in found.workers] == [1, 1, 2, 1, 1, 1]
        assert found.dataset.samples == len(rows_of(stream.folder / "dataset")) > 0
        assert json.loads(imgdiff(stream, "status", "--json")) == found.to_json()
        assert f"{found.ingested} captions ingested" in imgdiff(stream, "status")
    finally:
        up.end()
    assert up.process.returncode == 0, up.log
    assert not up.targets.exists()
    assert len(up.all_pids()) == 8
    assert all(map(gone, up.all_pids()))
    assert status_of(stream).to_json()["workers"][0]["members"] == 0


def test_settings_that_are_wrong_stop_it_at_once(stream: Stream) -> None:
    up = Up(stream, "--set", "boxes.batch_sze=1")
    try:
        assert up.process.wait(60) == 78
    finally:
        up.end()
    last = up.log.splitlines()[-1]
    assert last.startswith("imgdiff: boxes.1 can not run as it is set up")
    assert "boxes.batch_sze" in last
    assert all(map(gone, up.all_pids()))
    assert not up.targets.exists()


@pytest.mark.long
def test_a_fault_strikes_the_first_start_only(stream: Stream) -> None:
    stream.environ["IMGDIFF_FAULT"] = "edits:after_commit:1:SIGKILL"
    stream.produce_captions(CAPTIONS[:4])
    up = Up(stream, *(f"--workers={name}=0" for name in ("pairs", "boxes", "region-captions", "qa", "dataset")))
    try:
        wait_until("it was started again", lambda: len(up.pids("edits.1")) == 2)
        stream.produce_captions(CAPTIONS[4:8], start=4)
        stream.settle("edits", "captions")
        assert len(up.pids("edits.1")) == 2
    finally:
        up.end()
    assert up.process.returncode == 0


def imgdiff(stream: Stream, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, env=stream.environ, capture_output=True, text=True, check=True
    )
    return done.stdout
