"""The processes of one stream: each has a supervisor of its own, so that it can leave alone."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.runtime import faults
from ops.supervisor import Backoff, Program, Supervisor
from schemas.topics import INGEST
from tests.chaos.worker import SLOW_STORE, STAGE_FAULT
from tests.integration.kit import ROOT

BACKOFF = Backoff(first_s=0.2, longest_s=2.0, reset_after_s=5.0)
"""Deaths in a row are what these processes are for; a long wait would only be measured as time to recover."""

GRACE_S = 60.0
"""How long a process may take to leave. Who takes longer is ended by hand, which counts as a failure."""

COMMAND_LINE = (sys.executable, "-c", "import sys; from ops.cli.main import main; sys.exit(main())")
"""`imgdiff`, whatever the search path is."""

HEED_PERMISSIONS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Takes root's right to ignore permissions from a process."""


RETRIED = "trying again in up to"
"""What the log of a worker says when it waits for its store."""


class FaultFiles:
    """The files through which the running processes of one stream are told what is to happen to them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

    def step(self, worker: str) -> Path:
        """For IMGDIFF_FAULT: a signal at a step."""
        return self._folder / worker

    def stage(self, worker: str) -> Path:
        """For a StageFault."""
        return self._folder / f"{worker}.stage"

    @property
    def slow_store(self) -> Path:
        return self._folder / "slow-store"

    def clear(self) -> None:
        """Forget everything that was armed or has struck."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)


def struck(path: Path) -> Path:
    """The file that is there once the fault of a file has struck."""
    return path.with_name(path.name + faults.STRUCK_SUFFIX)


class Member:
    """One process that is to run, and is started again whenever it dies."""

    def __init__(self, worker: str, program: Program, log: Path) -> None:
        self.worker = worker
        self.name = program.name
        self.retries = 0
        """How often it has said that it waits for its store."""
        self._log = log
        self._lock = threading.Lock()
        self._supervisor = Supervisor(self._write, BACKOFF)
        self._supervisor.start(program)

    @property
    def pid(self) -> int | None:
        """None while it waits to be started again."""
        return self._supervisor.status()[0].pid

    def look(self) -> None:
        """Start it again if it has died. To be called often."""
        self._supervisor.look()

    def send(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    def stop(self) -> bool:
        """SIGTERM. False when it had to be ended by hand."""
        return self._supervisor.stop(GRACE_S)

    def _write(self, _: str, line: str) -> None:
        with self._lock, self._log.open("a") as log:
            self.retries += RETRIED in line
            log.write(f"{time.strftime('%H:%M:%S')} {line}\n")


def worker_program(worker: str, name: str, environ: Mapping[str, str], files: FaultFiles) -> Program:
    """A worker as a program; it heeds the permissions of files, whoever runs it."""
    own = {
        faults.VARIABLE: f"{faults.FROM_FILE}{files.step(worker)}",
        STAGE_FAULT: str(files.stage(worker)),
        SLOW_STORE: str(files.slow_store),
        "PYTHONPATH": str(ROOT),
    }
    return Program(
        name=name,
        command=[*_heeding_permissions(), sys.executable, "-m", "tests.chaos.worker", worker],
        environment={**environ, **own},
    )


def ingest_program(name: str, environ: Mapping[str, str], files: FaultFiles, watched: Path) -> Program:
    """An ingest of what comes into a folder, as a program."""
    own = {faults.VARIABLE: f"{faults.FROM_FILE}{files.step(INGEST)}", "PYTHONPATH": str(ROOT)}
    return Program(
        name=name, command=[*COMMAND_LINE, "ingest", "--watch", str(watched)], environment={**environ, **own}
    )


def _heeding_permissions() -> Sequence[str]:
    return HEED_PERMISSIONS if os.geteuid() == 0 else ()
