"""Ctrl-C, SIGTERM and a closed terminal while something runs that has to be put in order."""

import signal
import threading
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """The first signal asks for an end, `asked`; a second one for an end at once, `at_once`. A context manager.

    Until `from_now_on_only_ask` the first one also raises KeyboardInterrupt, for calls that nothing else can end.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.at_once = threading.Event()
        self._raising = True

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def from_now_on_only_ask(self) -> None:
        """Signals no longer raise: whoever runs looks at `asked`."""
        self._raising = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked.is_set():
            self.at_once.set()
            return
        self.asked.set()
        if self._raising:
            raise KeyboardInterrupt
