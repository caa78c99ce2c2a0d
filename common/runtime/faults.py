"""Faults that tests inject: `IMGDIFF_FAULT=boxes:after_offsets:3:SIGKILL` sends the signal at the third passing.

Several faults are separated by commas. The steps are those between which a crash must lose and double nothing.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from common.runtime.errors import ConfigurationError

VARIABLE = "IMGDIFF_FAULT"


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

    def __init__(self, faults: list[_Fault]) -> None:
        self._faults = faults

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], worker: str) -> "Faults":
        """Raises ConfigurationError naming what is wrong with the variable."""
        return cls(
            [
                fault
                for text in filter(None, environ.get(VARIABLE, "").split(","))
                if (fault := _parse(text, worker)) is not None
            ]
        )

    def reached(self, step: Step) -> None:
        """Pass a step; the process may not survive it."""
        for fault in self._faults:
            if fault.step is step:
                fault.passings -= 1
                if fault.passings == 0:
                    os.kill(os.getpid(), fault.signal)


def _parse(text: str, worker: str) -> _Fault | None:
    try:
        name, step, passings, action = text.split(":")
        fault = _Fault(Step(step), int(passings), signal.Signals[action])
    except (ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{VARIABLE}: found {text!r}, expected WORKER:STEP:PASSINGS:SIGNAL such as boxes:after_offsets:3:SIGKILL"
        ) from error
    return fault if name == worker else None
