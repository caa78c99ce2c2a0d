"""Free space, and one writer at a time."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.runtime.errors import ConfigurationError
from ops.broker.report import Report

MIB = 1024 * 1024


def require_free(folder: Path, needed: int, purpose: str) -> None:
    """Raises ConfigurationError if the disk of an existing folder has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigurationError(
            f"disk of {folder}: {free // MIB} MiB free, expected at least {-(-needed // MIB)} MiB for {purpose}"
        )


@contextmanager
def exclusive(path: Path, report: Report) -> Iterator[None]:
    """Holds the lock file `path`, after waiting for whoever holds it. The system frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.say(f"another command is at work in {path.parent}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
