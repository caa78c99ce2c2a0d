"""Transaction calls have no time-out of their own: one that hangs ends the process, and the restart asks for the truth."""

import time

from common.settings import RuntimeSettings


class TransactionWatchdog:
    """Knows since when a transaction has been running."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._since: float | None = None

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def overdue_s(self, broker_reachable: bool) -> float | None:
        """How long the transaction has been running, when that is longer than it may; else None.

        While nobody listens where the broker should be, it may take as long as the broker may be away.
        """
        since = self._since
        if since is None:
            return None
        running = time.monotonic() - since
        settings = self._settings
        limit = settings.transaction_watchdog_s if broker_reachable else settings.broker_patience_s
        return running if running > limit else None

    @property
    def suspicious(self) -> bool:
        """Whether it is worth asking if the broker can be reached."""
        since = self._since
        return since is not None and time.monotonic() - since > self._settings.transaction_watchdog_s
