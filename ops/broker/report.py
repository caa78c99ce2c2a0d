"""What a broker says while it works."""

import sys
from typing import Protocol


class Report(Protocol):
    """Where a broker tells what it does."""

    def say(self, line: str) -> None:
        """One finished line."""
        ...

    def downloaded(self, done: int, total: int) -> None:
        """So many bytes of `total` have arrived. Called often, from one thread at a time."""
        ...


class StderrReport:
    """Lines on standard error: a running percentage on a terminal, one line for every tenth elsewhere."""

    def __init__(self) -> None:
        self._step = -1

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def downloaded(self, done: int, total: int) -> None:
        terminal = sys.stderr.isatty()
        step = done * (100 if terminal else 10) // total
        if step == self._step:
            return
        self._step = step
        text = f"downloading Apache Kafka: {done / 1e6:5.1f} of {total / 1e6:.1f} MB"
        if terminal:
            print(f"\r{text}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
        else:
            self.say(text)
