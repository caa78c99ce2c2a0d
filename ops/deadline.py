"""A time-out for calls that have none of their own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, action: Callable[[], T]) -> T:
    """The action's result. Raises TimeoutError after `seconds`; the thread that hangs ends with the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="kafka", daemon=True).start()
    return future.result(timeout=seconds)
