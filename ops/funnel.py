"""The funnel as a table for people."""

from collections.abc import Callable, Mapping, Sequence

from ops.status import StreamStatus, WorkerStatus

Column = tuple[str, Callable[[WorkerStatus], str]]


def _reasons(worker: WorkerStatus) -> str:
    counts: Mapping[str, int] = {**worker.counters.rejected, **worker.counters.failed}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count}" for reason, count in ordered)


_WORKER: Column = ("worker", lambda worker: worker.worker)
_COUNTS: Sequence[Column] = (
    (">consumed", lambda worker: str(worker.counters.consumed)),
    (">passed on", lambda worker: str(worker.counters.passed)),
    (">outputs", lambda worker: str(worker.counters.outputs)),
    (">rejected", lambda worker: str(sum(worker.counters.rejected.values()))),
    (">failed", lambda worker: str(sum(worker.counters.failed.values()))),
)
_STATE: Sequence[Column] = (
    (">replayed", lambda worker: str(worker.replayed)),
    (">lag", lambda worker: str(worker.lag)),
    (">members", lambda worker: str(worker.members)),
)
_WHY: Column = ("why", _reasons)

AT_WORK: Sequence[Column] = (_WORKER, *_COUNTS, *_STATE, _WHY)
"""The columns while the stream is at work."""

FINISHED: Sequence[Column] = (_WORKER, *_COUNTS, _WHY)
"""The columns when it has come to an end."""


def headings(columns: Sequence[Column]) -> list[str]:
    """As `ops.cli.output.print_table` takes them."""
    return [heading for heading, _ in columns]


def rows(status: StreamStatus, columns: Sequence[Column]) -> list[list[str]]:
    """One row per worker."""
    return [[cell(worker) for _, cell in columns] for worker in status.workers]
