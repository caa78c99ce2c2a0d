"""What of a model is on this machine, at first sight: by names and sizes. Only a check reads the files."""

from dataclasses import dataclass
from enum import StrEnum

from common.models.weights import (
    Fault,
    OtherRevisionError,
    files_in,
    folder_of,
    lock_of,
    problem_of,
    wanted_of,
)
from common.settings import WeightsSettings, WeightsSource


class State(StrEnum):
    """How much of a model is there. `complete` is all that the settings name, without a lock that could say more."""

    MISSING = "missing"
    PARTIAL = "partial"
    DIFFERS = "differs"
    COMPLETE = "complete"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Presence:
    """What is there. `size` is that of all files that are needed, in bytes: only a lock knows it.

    `revision` is the locked commit, and None where nothing is pinned.
    """

    state: State
    revision: str | None
    size: int | None
    detail: str = ""


def presence_of(source: WeightsSource, settings: WeightsSettings) -> Presence:
    """Look at the files. Raises ConfigurationError where the lock file itself is broken."""
    folder = folder_of(source, settings)
    there = folder.is_dir() and bool(files_in(folder, source.files))
    try:
        locked = lock_of(source, settings)
    except OtherRevisionError as error:
        return Presence(State.DIFFERS if there else State.MISSING, None, None, str(error))
    revision = locked.revision if locked is not None else None
    size = sum(file.size for file in wanted_of(source, locked).values()) if locked is not None else None
    if not there:
        return Presence(State.MISSING, revision, size)
    problem = problem_of(source, folder, locked)
    if problem is None:
        return Presence(State.COMPLETE if locked is None else State.LOCKED, revision, size)
    state = State.PARTIAL if problem.fault is Fault.MISSING else State.DIFFERS
    return Presence(state, revision, size, problem.said)
