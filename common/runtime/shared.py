"""What the threads of one worker share."""

from dataclasses import dataclass

from common.health import Health
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit
from common.runtime.crash_marks import CrashMarks
from common.runtime.delivery import Delivery
from common.runtime.faults import Faults
from common.runtime.handover import CommitQueue
from common.runtime.ownership import Assignment
from common.runtime.retry import Retry
from common.runtime.watchdog import TransactionWatchdog
from common.settings import RuntimeSettings


@dataclass(frozen=True, slots=True)
class Shared:
    """Each part is thread-safe."""

    settings: RuntimeSettings
    assignment: Assignment
    commits: CommitQueue
    delivery: Delivery
    retry: Retry
    faults: Faults
    health: Health
    metrics: WorkerMetrics
    watchdog: TransactionWatchdog
    marks: CrashMarks
    circuit: Circuit
