"""What the threads of a worker share, put together for one of them alone."""

from typing import Any

from common.health import Health
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit
from common.runtime.faults import Faults
from common.runtime.handover import CommitQueue
from common.runtime.ownership import Assignment
from common.runtime.retry import Retry
from common.runtime.shared import Shared
from common.runtime.watchdog import TransactionWatchdog
from common.settings import RuntimeSettings


def shared_parts(
    settings: RuntimeSettings,
    assignment: Assignment,
    *,
    delivery: Any = None,
    marks: Any = None,
    health: Health | None = None,
) -> Shared:
    """Everything is the real part, but for what a test hands in and what it has no use for."""
    health, metrics = health or Health(), WorkerMetrics("edits", "0", "test")
    return Shared(
        settings=settings,
        assignment=assignment,
        commits=CommitQueue(),
        delivery=delivery,
        retry=Retry(settings, health, metrics),
        faults=Faults([]),
        health=health,
        metrics=metrics,
        watchdog=TransactionWatchdog(settings),
        marks=marks,
        circuit=Circuit(settings, health, metrics),
    )
