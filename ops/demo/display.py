"""How far the stream is, on standard error: a live bar per stage, or a line now and then where it is no terminal."""

import sys
import time
from typing import Any, Protocol

from common.terminal import escape
from ops.cli.output import console
from ops.status import StreamStatus
from schemas.topics import ROUTES

LINE_EVERY_S = 5.0


class Display(Protocol):
    """Shows progress between `__enter__` and `__exit__`."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, status: StreamStatus) -> None:
        """How things stand now. Called often."""
        ...


def display() -> Display:
    """The one that fits standard error."""
    return Bars() if sys.stderr.isatty() else Lines()


def say(line: str) -> None:
    """One line of what happens, on standard error."""
    sys.stderr.write(escape(line) + "\n")
    sys.stderr.flush()


def arrivals(status: StreamStatus) -> list[int]:
    """How many inputs each worker has been given so far, in the order of the stream."""
    return [status.ingested, *(worker.counters.outputs for worker in status.workers[:-1])]


class Bars:
    """A live bar per stage."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[made]}"),
            TimeElapsedColumn(),
            console=console(sys.stderr),
        )
        self._tasks = [self._progress.add_task(route.worker, total=None, made="") for route in ROUTES]

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, status: StreamStatus) -> None:
        for task, worker, arrived in zip(self._tasks, status.workers, arrivals(status), strict=True):
            counters = worker.counters
            rejected, failed = sum(counters.rejected.values()), sum(counters.failed.values())
            made: dict[str, Any] = {
                "made": f"{counters.outputs} out, {rejected} rejected" + (f", {failed} FAILED" if failed else "")
            }
            self._progress.update(task, total=arrived or None, completed=counters.consumed, **made)


class Lines:
    """A line every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: StreamStatus) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            done = zip(status.workers, arrivals(status), strict=True)
            say("   ".join(f"{worker.worker} {worker.counters.consumed}/{arrived}" for worker, arrived in done))
