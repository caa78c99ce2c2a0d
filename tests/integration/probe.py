"""A worker for tests of the runtime: what it does with a caption is written in the caption.

`reject`, `fail`, `fail once`, `oom`, `many N`, `die` (kills the process), `hang`; anything else passes. `die in loading` and
`hang in loading` do so before any stage sees them, and may hang for `PROBE_LOADING_LIMIT_S`. It notes every call in
`PROBE_JOURNAL` and takes `PROBE_DELAY_S` for each. While `PROBE_BROKEN` is there it fails with everything.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import model_validator

from common.runtime.errors import OutOfMemoryError, TransientError
from common.runtime.main import worker_main
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Emit, Reject, Stage, Task
from common.runtime.worker import THREAD_LIMITS_S
from common.settings import CommonSettings, StageSettings
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.scores import Bounds
from schemas.topics import EDITS
from schemas.trail import ModelId


class LoadedCaption(Caption):
    """A caption that acts while it is decoded."""

    @model_validator(mode="after")
    def _act(self) -> Self:
        if self.caption == "die in loading":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.caption == "hang in loading":
            threading.Event().wait()
        return self


class ProbeReason(StrEnum):
    ASKED_FOR = "asked_for"


class ProbeStage:
    models: Sequence[ModelId] = (ModelId(role="caption_editor", id="probe", revision="1"),)

    def __init__(self) -> None:
        self._delay_s = float(os.environ.get("PROBE_DELAY_S", "0"))
        self._journal = os.environ.get("PROBE_JOURNAL")
        self._failed_once: set[str] = set()

    def process(self, batch: Sequence[Task[Caption]]) -> Sequence[Emit[Edit] | Reject]:
        texts = [task.record.caption for task in batch]
        self._note("begin", [task.record.id for task in batch])
        if self._delay_s:
            time.sleep(self._delay_s)
        if sum(text.startswith("oom") for text in texts) and len(texts) > 4:
            raise OutOfMemoryError(f"{len(texts)} do not fit")
        gate = os.environ.get("PROBE_GATE")
        if gate and not Path(gate).exists():
            raise TransientError("the model endpoint is away")
        if "die" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in texts:
            threading.Event().wait()
        broken = os.environ.get("PROBE_BROKEN")
        if broken and Path(broken).exists():
            raise ArithmeticError("the model gives no numbers")
        for task in batch:
            if task.record.caption.startswith("fail once") and task.record.id not in self._failed_once:
                self._failed_once.add(task.record.id)
                raise RuntimeError("stumbled")
            if task.record.caption == "fail":
                raise ValueError(f"can not work on {task.record.id}")
        outcomes = [self._outcome(task.record) for task in batch]
        self._note("end", [task.record.id for task in batch])
        return outcomes

    def _outcome(self, caption: Caption) -> Emit[Edit] | Reject:
        score = {"length": Bounds(low=1.0).measure(float(len(caption.caption)))}
        if caption.caption == "reject":
            return Reject(ProbeReason.ASKED_FOR, score, detail="as the caption says")
        count = int(caption.caption.split()[1]) if caption.caption.startswith("many") else 1
        return Emit(
            [caption.derive(Edit, i, edited_caption=f"{caption.caption} {i}") for i in range(count)], scores=score
        )

    def _note(self, what: str, ids: Sequence[str]) -> None:
        if self._journal:
            with Path(self._journal).open("a") as journal:
                note = {"what": what, "ids": list(ids), "pid": os.getpid(), "at": time.time()}
                journal.write(json.dumps(note) + "\n")


def build(settings: StageSettings, common: CommonSettings) -> Stage[Caption, Edit]:
    gate = os.environ.get("PROBE_BUILD_GATE")
    if gate and not Path(gate).exists():
        raise TransientError("the model endpoint is not there yet")
    return ProbeStage()


WORKER = WorkerSpec(route=EDITS, reads=LoadedCaption, settings=StageSettings, reasons=ProbeReason, build=build)

if __name__ == "__main__":
    if limit_s := os.environ.get("PROBE_LOADING_LIMIT_S"):
        THREAD_LIMITS_S["prefetch"] = float(limit_s)
    sys.exit(worker_main(WORKER))
