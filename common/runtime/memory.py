"""Waiting for memory: who has none now may have some when what else is at work is done with it."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TypeVar

from common.runtime.errors import TransientError
from common.runtime.retry import Retry

T = TypeVar("T")

MEMORY_TRIES = 8
"""How often work is tried for which there is no memory. With the usual pauses the tries take up to half a minute: a batch that
ends meanwhile gives its memory back."""


def when_there_is_memory(retry: Retry, what: str, place: str, work: Callable[[], T], wanted: Callable[[], bool]) -> T:
    """The result of the work, which is done for the record at a place of the log.

    Raises NotWantedError as `Retry.run` does, and MemoryError when memory stays short.
    """
    # Outside of any handler of the error, which would keep what the work had made so far.
    with suppress(MemoryError):
        return work()
    tries = count(2)

    def again() -> T:
        with suppress(MemoryError):
            return work()
        lacking = f"no memory to {what}: {place}"
        if next(tries) < MEMORY_TRIES:
            raise TransientError(lacking)
        raise MemoryError(lacking)

    return retry.run(what, again, wanted)
