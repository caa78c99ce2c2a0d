"""What takes bytes or words from outside, each with a way to feed it one bad input; and the bounds that hold each time."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

CPU_S = 10.0
"""What one input may take of the processor: none needs a tenth of that."""
WAIT_S = 120.0
"""How long one may take at all, on a machine that is busy with other things."""
MEMORY_BYTES = 2 * 1024**3
"""How much address space all inputs of an area together may add to the process."""

Case = Callable[[Random], None]


@dataclass(frozen=True)
class Area:
    """One way in. `prepare` gets a folder of its own, and where to put what has to be closed in the end; it gives what feeds
    one input and asserts what came of it. `inputs` is how many are fed in all.
    """

    name: str
    inputs: int
    prepare: Callable[[Path, ExitStack], Case]


class TooLongError(BaseException):
    """An input took too long. No `except Exception` swallows it."""


def one_line(text: str, most: int = 3_000) -> None:
    """What people are told about a bad input: something, and not the whole input again. The program's end puts it on a line."""
    assert text.strip()
    assert len(text) < most, text[:200]


def feed(area: Area, folder: Path, inputs: int, seed: int) -> int:
    """Run so many inputs of an area; how many were. Fails naming the first that does not end as it should."""
    fed = 0
    with ExitStack() as stack:
        case = area.prepare(folder, stack)
        stack.enter_context(_bounded_memory())
        for number in range(inputs):
            try:
                with _deadline():
                    case(Random(f"{area.name} {seed} {number}"))
            except BaseException as error:
                error.add_note(f"{area.name}: input {number} of seed {seed}")
                raise
            fed += 1
    return fed


@contextmanager
def _deadline() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise TooLongError(signal.Signals(number).name)

    signal.signal(signal.SIGPROF, end)
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    signal.setitimer(signal.ITIMER_REAL, WAIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _bounded_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
