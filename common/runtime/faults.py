"""Faults that tests inject: `IMGDIFF_FAULT=boxes:after_offsets:3:SIGKILL` sends the signal at the third passing.

Several faults are separated by commas. `IMGDIFF_FAULT=@FILE` looks for one in a file each time a step is passed, so that
a process can be hit long after its start; passings count from when the file appeared. Whoever strikes takes the file away
and leaves its process id in `FILE.struck`: of several processes one is hit, and no restart is hit again. The steps are
those between which a crash must lose and double nothing.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.runtime.errors import ConfigurationError

VARIABLE = "IMGDIFF_FAULT"
FROM_FILE = "@"
STRUCK_SUFFIX = ".struck"


class Step(StrEnum):
    """Where a fault can strike. The last two are the sink's: a shard written, and a shard about to move."""

    BEFORE_STORE = "before_store"
    AFTER_STORE = "after_store"
    AFTER_BEGIN = "after_begin"
    AFTER_SENDS = "after_sends"
    AFTER_OFFSETS = "after_offsets"
    AFTER_COMMIT = "after_commit"
    AFTER_SEAL = "after_seal"
    AFTER_MOVE = "after_move"


@dataclass(slots=True)
class _Fault:
    step: Step
    passings: int
    signal: signal.Signals


class Faults:
    """The faults of one worker; none unless a test asks for them."""

    def __init__(self, faults: list[_Fault], file: "_FaultFile | None" = None) -> None:
        self._faults = faults
        self._file = file

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], worker: str) -> "Faults":
        """Raises ConfigurationError naming what is wrong with the variable."""
        text = environ.get(VARIABLE, "")
        if text.startswith(FROM_FILE):
            return cls([], _FaultFile(Path(text.removeprefix(FROM_FILE)), worker))
        return cls(_parse_all(text, worker))

    def reached(self, step: Step) -> None:
        """Pass a step; the process may not survive it."""
        if self._file is not None:
            self._faults = self._file.faults()
        for fault in self._faults:
            if fault.step is step:
                fault.passings -= 1
                if fault.passings == 0 and (self._file is None or self._file.taken()):
                    os.kill(os.getpid(), fault.signal)


class _FaultFile:
    """A file that holds faults as the variable does. Whoever writes it renames it into place."""

    def __init__(self, path: Path, worker: str) -> None:
        self._path = path
        self._worker = worker
        self._version: int | None = None
        self._faults: list[_Fault] = []

    def faults(self) -> list[_Fault]:
        """Those of the file as it is now; the same ones, with what is left of their passings, while it stays as it is."""
        try:
            version = self._path.stat().st_mtime_ns
            if version != self._version:
                self._faults = _parse_all(self._path.read_text().strip(), self._worker)
                self._version = version
        except FileNotFoundError:
            self._version, self._faults = None, []
        return self._faults

    def taken(self) -> bool:
        """Take the file away; False where another process has been faster."""
        struck = self._path.with_name(self._path.name + STRUCK_SUFFIX)
        try:
            aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            self._path.rename(aside)
        except FileNotFoundError:
            return False
        aside.write_text(str(os.getpid()))
        aside.rename(struck)
        return True


def _parse_all(text: str, worker: str) -> list[_Fault]:
    return [fault for part in filter(None, text.split(",")) if (fault := _parse(part, worker)) is not None]


def _parse(text: str, worker: str) -> _Fault | None:
    try:
        name, step, passings, action = text.split(":")
        fault = _Fault(Step(step), int(passings), signal.Signals[action])
    except (ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{VARIABLE}: found {text!r}, expected WORKER:STEP:PASSINGS:SIGNAL such as boxes:after_offsets:3:SIGKILL"
        ) from error
    return fault if name == worker else None
