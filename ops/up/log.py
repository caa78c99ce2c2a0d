"""One log of many processes: a prefix per process, in a colour per worker."""

import sys
import threading
from collections.abc import Sequence
from typing import IO

import click

from common.terminal import escape
from ops.workers import WORKERS

COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_red")
TAB = "\t"


class PrefixedLog:
    """Writes whole lines, `boxes.1 | ...`. Several threads may use it."""

    def __init__(self, names: Sequence[str], stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._width = max((len(name) for name in names), default=0)
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        worker = name.partition(".")[0]
        colour = COLOURS[WORKERS.index(worker) % len(COLOURS)] if worker in WORKERS else None
        prefix = click.style(f"{name:<{self._width}} |", fg=colour)
        with self._lock:
            # Colours are taken away again where this is no terminal.
            click.echo(f"{prefix} {escape(line, keep=TAB)}", file=self._stream)
            self._stream.flush()
