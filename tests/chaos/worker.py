"""A worker of the product with what chaos needs inside of its process: `python -m tests.chaos.worker boxes`.

The stage is the real one. Before each of its calls a file is looked at, which may tell it to raise, to have no memory, to
hang, or to kill the process (see StageFault). And the store can be slow, which no system offers without privileges.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from common.runtime.errors import OutOfMemoryError
from common.runtime.faults import STRUCK_SUFFIX
from common.runtime.main import worker_main
from common.runtime.stage import Emit, Reject, Stage, Task
from common.storage import Storage
from ops.workers import spec_of
from schemas.trail import ModelId

STAGE_FAULT = "CHAOS_STAGE_FAULT"
"""Variable: the file in which a StageFault may come to be."""

SLOW_STORE = "CHAOS_SLOW_STORE"
"""Variable: the file which holds, while it is there, how many seconds each call of the store takes longer."""


class Action(StrEnum):
    """What becomes of a call."""

    RAISE = "raise"
    NO_MEMORY = "no_memory"
    HANG = "hang"
    KILL = "kill"


class InjectedError(Exception):
    """What a stage fault raises."""


@dataclass(frozen=True, slots=True)
class StageFault:
    """What is to happen in a stage.

    With `caption` it happens whenever a record of that caption is in the batch. With `above` it happens to every batch of
    more records. Else it happens once, at the `call`-th call after the file appeared.
    """

    action: Action
    call: int = 1
    caption: str | None = None
    above: int | None = None

    @property
    def once(self) -> bool:
        return self.caption is None and self.above is None

    def write(self, path: Path) -> None:
        """Arm the workers that look at this path."""
        aside = path.with_name(f"{path.name}.new")
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(path)

    @classmethod
    def read(cls, path: Path) -> "StageFault | None":
        try:
            fields = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(Action(fields.pop("action")), **fields)


class FaultyStage:
    """A stage that does as a file says, and else what it always does."""

    def __init__(self, stage: Stage[Any, Any], path: Path) -> None:
        self._stage = stage
        self._path = path
        self._calls = 0

    @property
    def models(self) -> Sequence[ModelId]:
        return self._stage.models

    def process(self, batch: Sequence[Task[Any]]) -> Sequence[Emit[Any] | Reject]:
        fault = StageFault.read(self._path)
        self._calls = 0 if fault is None else self._calls + 1
        if fault is not None and self._meant(fault, batch):
            self._act(fault.action)
        return self._stage.process(batch)

    def _meant(self, fault: StageFault, batch: Sequence[Task[Any]]) -> bool:
        struck = self._path.with_name(self._path.name + STRUCK_SUFFIX)
        if fault.once:
            if self._calls < fault.call:
                return False
            try:
                self._path.rename(struck)
            except FileNotFoundError:
                return False  # another process of this worker has been faster
            return True
        if fault.caption is not None:
            meant = any(task.record.caption_id == fault.caption for task in batch)
        else:
            meant = len(batch) > (fault.above or 0)
        if meant:
            struck.touch()
        return meant

    def _act(self, action: Action) -> None:
        match action:
            case Action.RAISE:
                raise InjectedError("as the fault says")
            case Action.NO_MEMORY:
                raise OutOfMemoryError("as the fault says")
            case Action.HANG:
                threading.Event().wait()
            case Action.KILL:
                os.kill(os.getpid(), signal.SIGKILL)


def slowed(method: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """A method of the store that takes longer while a file says so."""

    def slow(*arguments: Any, **named: Any) -> Any:
        with suppress(FileNotFoundError):
            time.sleep(float(path.read_text()))
        return method(*arguments, **named)

    return slow


def main(worker: str) -> int:
    """Run one worker with the settings of the environment; the exit code."""
    store = Path(os.environ[SLOW_STORE])
    for name in ("read", "size", "write", "move"):
        setattr(Storage, name, slowed(getattr(Storage, name), store))
    spec = spec_of(worker)
    faults = Path(os.environ[STAGE_FAULT])
    return worker_main(
        replace(spec, build=lambda settings, common: FaultyStage(spec.build(settings, common), faults)), []
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
