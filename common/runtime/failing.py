"""Transactions that fail again and again.

One that fails is nothing: a rebalance, a coordinator that moves. What fails twice in a row may fail for ever, as with
a record that its topic does not take. The same records would then be read, worked on and refused as fast as models and broker
can, by a worker that calls itself ready.
"""

import logging
from collections.abc import Collection

from common.health import Health
from common.kafka import Partition
from common.settings import RuntimeSettings

log = logging.getLogger(__name__)

CAUSE = "transaction"

LONGEST_PAUSE_S = 10.0
"""So that a worker is back within 15 s of a cluster that takes its records again, whatever kept it from that."""
MOST_DOUBLINGS = 30


class FailingTransactions:
    """How often in a row the transactions of each partition have failed. For the commit thread.

    By partition, because others may commit in between: they say nothing about the one that does not.
    """

    def __init__(self, settings: RuntimeSettings, health: Health) -> None:
        self._settings = settings
        self._health = health
        self._in_a_row: dict[Partition, int] = {}

    def failed(self, partitions: Collection[Partition], error: Exception) -> float:
        """Count a failure. Seconds to wait before the next transaction: none after the first, then twice as long each time.
        From the second on the worker is not ready."""
        for partition in partitions:
            self._in_a_row[partition] = self._in_a_row.get(partition, 0) + 1
        times = max(self._in_a_row[partition] for partition in partitions)
        if times == 1:
            return 0.0
        doublings = min(times - 2, MOST_DOUBLINGS)
        pause_s = min(self._settings.retry_first_s * 2.0**doublings, self._settings.retry_max_s, LONGEST_PAUSE_S)
        why = f"transactions of the same records failed {times} times in a row: {type(error).__name__}: {error}"
        log.warning("%s; trying again in %.1f s", why, pause_s)
        self._health.waiting(CAUSE, why)
        return pause_s

    def succeeded(self, partitions: Collection[Partition]) -> None:
        """These have committed."""
        self._keep([partition for partition in self._in_a_row if partition not in partitions])

    def owned(self, partitions: Collection[Partition]) -> None:
        """These are all that this worker has: what went elsewhere fails there, or does not."""
        self._keep([partition for partition in self._in_a_row if partition in partitions])

    def _keep(self, partitions: Collection[Partition]) -> None:
        if len(partitions) == len(self._in_a_row):
            return
        self._in_a_row = {partition: self._in_a_row[partition] for partition in partitions}
        if all(times == 1 for times in self._in_a_row.values()):
            self._health.resumed(CAUSE)
