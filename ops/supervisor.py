"""Programs that are to run: started, watched, started again when they die, and stopped in good order."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from common.runtime.deadline import Deadline
from common.runtime.errors import ConfigurationError
from common.runtime.exits import ExitCode

MAX_LINE_BYTES = 64 * 1024
"""A longer line of a program's output is cut in pieces."""

LOOK_S = 0.1
READER_JOIN_S = 2.0
LAST_LINES = 20

Write = Callable[[str, str], None]
"""Takes a program's name and one line of what it said, without the line's end. Called from several threads."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command that is to run, with its whole environment.

    Variables named in `first_start_only` do not reach a restart: a fault that a test injects strikes once.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    first_start_only: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a start after the n-th death in a row; a life of `reset_after_s` ends the row."""

    first_s: float = 0.5
    longest_s: float = 30.0
    reset_after_s: float = 60.0

    def delay(self, deaths_in_a_row: int) -> float:
        """Seconds before the next start, after at least one death."""
        return float(min(self.longest_s, self.first_s * 2 ** min(deaths_in_a_row - 1, 30)))


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """A program at one moment; `pid` is None while it waits to be started again. `deaths_in_a_row` as in Backoff."""

    name: str
    pid: int | None
    starts: int
    deaths_in_a_row: int
    last_lines: tuple[str, ...]


@dataclass(slots=True)
class _Watched:
    """A program with its process, if it has one now."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    reader: threading.Thread | None = None
    starts: int = 0
    deaths_in_a_row: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    last_lines: tuple[str, ...] = ()


class Supervisor:
    """Keeps programs running. One thread uses it."""

    def __init__(self, write: Write, backoff: Backoff | None = None) -> None:
        self._write = write
        self._backoff = backoff or Backoff()
        self._programs: list[_Watched] = []

    def start(self, program: Program) -> None:
        """Start one more program, and keep it running from now on. Raises ConfigurationError when it can not be run."""
        watched = _Watched(program)
        self._launch(watched)
        self._programs.append(watched)

    def status(self) -> list[ProgramStatus]:
        """All programs in the order in which they were added."""
        return [
            ProgramStatus(
                name=watched.program.name,
                pid=watched.process.pid if watched.process else None,
                starts=watched.starts,
                deaths_in_a_row=watched.deaths_in_a_row,
                last_lines=watched.last_lines,
            )
            for watched in self._programs
        ]

    def look(self) -> None:
        """Notice who has died, and start again whose wait is over. To be called often.

        Raises ConfigurationError when a program's first start ended with exit code 78: another would not help.
        """
        now = time.monotonic()
        for watched in self._programs:
            if watched.process is not None:
                code = watched.process.poll()
                if code is not None:
                    self._died(watched, code, now)
            elif now >= watched.start_at:
                self._launch(watched)

    def run(self, stop: threading.Event) -> None:
        """Keep everything running until `stop` is set. Raises as `look` does."""
        while not stop.wait(LOOK_S):
            self.look()

    def stop(self, grace_s: float, at_once: threading.Event | None = None) -> bool:
        """SIGTERM to all; SIGKILL to those that still live after `grace_s`, or when `at_once` is set.

        True when every one ended by itself.
        """
        running = [watched for watched in self._programs if watched.process is not None]
        for watched in running:
            _of(watched).terminate()
        patience = Deadline(grace_s)
        while any(_of(watched).poll() is None for watched in running) and not patience.expired:
            if at_once is not None and at_once.wait(LOOK_S / 2):
                break
            time.sleep(LOOK_S / 10)
        killed = [watched for watched in running if _of(watched).poll() is None]
        for watched in killed:
            why = "told to stop at once" if not patience.expired else f"still at work {grace_s:.0f} s after SIGTERM"
            self._write(watched.program.name, f"{why}: killed")
            _of(watched).kill()
        for watched in running:
            _of(watched).wait()
            self._join(watched)
        self._programs.clear()
        return not killed

    def _launch(self, watched: _Watched) -> None:
        program = watched.program
        environment = dict(program.environment)
        if watched.starts:
            for name in program.first_start_only:
                environment.pop(name, None)
        try:
            process = subprocess.Popen(
                program.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the whole group of the terminal, and a second signal means "now" to a worker: they
                # hear of it from us alone.
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigurationError(f"cannot run {program.command[0]}: {error.strerror or error}") from error
        watched.process = process
        watched.starts += 1
        watched.started_at = time.monotonic()
        watched.reader = threading.Thread(target=self._read, args=(watched, process), daemon=True)
        watched.reader.start()
        self._write(program.name, f"started as process {process.pid}")

    def _died(self, watched: _Watched, code: int, now: float) -> None:
        self._join(watched)
        watched.process = None
        name = watched.program.name
        # One that has run before is set up well enough: its broker or its port is gone for now.
        if code == ExitCode.CONFIGURATION and watched.starts == 1:
            last = watched.last_lines[-1] if watched.last_lines else "it said nothing"
            raise ConfigurationError(f"{name} can not run as it is set up: {last}")
        lived_s = now - watched.started_at
        watched.deaths_in_a_row = 1 if lived_s >= self._backoff.reset_after_s else watched.deaths_in_a_row + 1
        delay_s = self._backoff.delay(watched.deaths_in_a_row)
        watched.start_at = now + delay_s
        self._write(name, f"ended with {_ending(code)} after {lived_s:.1f} s, starting again in {delay_s:.1f} s")

    def _read(self, watched: _Watched, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            while line := output.readline(MAX_LINE_BYTES):
                text = line.decode(errors="replace").rstrip("\r\n")
                watched.last_lines = (*watched.last_lines[1 - LAST_LINES :], text)
                self._write(watched.program.name, text)

    @staticmethod
    def _join(watched: _Watched) -> None:
        if watched.reader is not None:
            watched.reader.join(READER_JOIN_S)


def _of(watched: _Watched) -> subprocess.Popen[bytes]:
    assert watched.process is not None
    return watched.process


def _ending(code: int) -> str:
    """What an exit code says: a signal's name or the number."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
