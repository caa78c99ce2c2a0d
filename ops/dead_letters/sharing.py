"""Topics read by several processes, each with its share of the partitions: what takes long is to decode the records, which
keeps a core busy."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import TypeVar

from common.kafka import EVERYTHING, Admin, Partition, Share
from common.runtime.errors import TransientError
from common.runtime.exits import ExitCode
from common.settings import CommonSettings

T = TypeVar("T")

PROCESSES = 2
"""Each takes some 80 MB."""

WORTH_IT = 20_000
"""So many records take as long as a process takes to start."""


def of_shares(common: CommonSettings, topics: Sequence[str], take: Callable[[Share], T]) -> list[T]:
    """What `take` makes of the shares of these topics, by their full names; together the shares are everything.

    It has to be picklable, and so does what it returns: where there is much to read, others call it. Raises what it
    raises, and TransientError when one of the others is killed.
    """
    if _records(common, topics) < WORTH_IT:
        return [take(EVERYTHING)]
    shares = [Share(index, PROCESSES) for index in range(PROCESSES)]
    try:
        with ProcessPoolExecutor(PROCESSES, get_context("spawn"), _end_with_the_command) as pool:
            return list(pool.map(take, shares))
    except BrokenProcessPool as error:
        raise TransientError("a process that read a share of the topics was killed: is there memory enough?") from error


def _records(common: CommonSettings, topics: Sequence[str]) -> int:
    """How many there are about. A topic that does not exist has none: whoever reads it says so."""
    with Admin(common.kafka) as admin:
        counts = admin.partition_counts()
        partitions = [Partition(topic, index) for topic in topics for index in range(counts.get(topic, 0))]
        starts, ends = admin.log_starts(partitions), admin.end_offsets(partitions)
    return sum(ends[partition] - starts[partition] for partition in partitions)


def _end_with_the_command() -> None:
    """On Ctrl-C at once, without a traceback beside what the command says; and when the command is killed, which nobody
    would tell this process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_after, args=[parent_process()], name="command", daemon=True).start()


def _end_after(command: BaseProcess) -> None:
    command.join()
    os._exit(ExitCode.OTHER)
