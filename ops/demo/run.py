"""A run of the demo: everything started, fed, watched to the end, stopped, and left in order."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.blobs import Blobs
from common.settings import Layers
from common.terminal import escape
from ops.cli.options import SettingsOptions
from ops.dataset.card import write_card
from ops.demo.configuration import DemoSettings, demo_settings, on_broker, write_settings
from ops.demo.display import display, say
from ops.demo.home import DemoHome
from ops.demo.interrupt import Interrupt
from ops.demo.sheet import write_sheet
from ops.ingest.ingest import IngestResult, ingest_files
from ops.ingest.settings import IngestSettings
from ops.status import StreamStatus
from ops.stream import open_status
from ops.supervisor import Supervisor
from ops.topics import create_topics
from ops.up.programs import WorkerPrograms
from schemas.topics import INGEST
from workers.dataset.shards import ShardStore

CAPTIONS = Path(__file__).with_name("captions.txt")
"""Everyday scenes, one sentence per line."""

LOOK_S = 0.25
STALL_S = 120.0
"""How long nothing may change before a run is given up; a batch takes less than a second on `sketch`."""

SETTLE_S = 15.0
"""How long the last shard may take to its place once all lag is 0."""

MAX_DEATHS = 5
"""A worker that dies so often in a row will not finish the run."""

STOP_MARGIN_S = 15.0
TAB = "\t"


class DemoError(Exception):
    """The run can not come to its end; the message says why."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a run ended in. `problems` is empty when every input is accounted for and nothing failed."""

    status: StreamStatus
    seconds: float
    problems: tuple[str, ...]
    settings: DemoSettings


def run_demo(
    given: SettingsOptions, home: DemoHome, interrupt: Interrupt, *, captions: Path, limit: int | None
) -> DemoResult:
    """Run the stream over the captions. Whatever happens, every process that was started is stopped again.

    Raises ConfigurationError, DemoError, KeyboardInterrupt, and what ingest raises.
    """
    settings = demo_settings(given, home)
    with home.fresh(), ExitStack() as stack:
        if not settings.own_cluster:
            settings = on_broker(settings, stack.enter_context(_broker(home)))
        common = settings.layers.common()
        write_settings(settings, home.settings)
        Blobs(common.blobs).initialise()
        ShardStore(str(home.dataset), {}).initialise()
        create_topics(common)
        interrupt.from_now_on_only_ask()
        started = time.monotonic()
        with _workers(settings, home, interrupt) as supervisor:
            status, ingested = _watch(settings.layers, supervisor, interrupt, captions, limit)
        seconds = time.monotonic() - started
        problems = [*_failures(status, ingested), *status.gaps()]
        say("writing the dataset's card and the contact sheet")
        funnel = [(worker.worker, worker.counters) for worker in status.workers]
        write_card(str(home.dataset), profile=common.profile, funnel=funnel)
        write_sheet(common, home.sheet)
        return DemoResult(status, seconds, tuple(problems), settings)


@contextmanager
def _broker(home: DemoHome) -> Iterator[str]:
    """A broker of the demo's own, by its address."""
    say("starting Apache Kafka")
    broker = home.broker()
    try:
        address = broker.start().bootstrap_servers
        assert address is not None
        yield address
    finally:
        broker.stop()


@contextmanager
def _workers(settings: DemoSettings, home: DemoHome, interrupt: Interrupt) -> Iterator[Supervisor]:
    """One process per worker, with their log in a file."""
    say(f"starting the workers (log: {home.log})")
    with home.log.open("w", encoding="utf-8", buffering=1) as log:
        supervisor = Supervisor(lambda name, line: _log_line(log.write, name, line))
        try:
            for worker in WorkerPrograms(settings.options.arguments()).all({}):
                supervisor.start(worker.program)
            yield supervisor
        finally:
            supervisor.stop(settings.layers.common().runtime.drain_budget_s + STOP_MARGIN_S, interrupt.at_once)


def _watch(
    layers: Layers, supervisor: Supervisor, interrupt: Interrupt, captions: Path, limit: int | None
) -> tuple[StreamStatus, IngestResult]:
    """Feed the captions, and look on until everything has passed."""
    with (
        ThreadPoolExecutor(1, thread_name_prefix="ingest") as pool,
        open_status(layers) as reader,
        display() as progress,
    ):
        feeding = pool.submit(_ingest, layers, captions, limit, interrupt)
        patience = Patience()
        while True:
            if interrupt.asked.wait(LOOK_S):
                raise KeyboardInterrupt
            supervisor.look()
            _check_alive(supervisor)
            # Asked before the status is read: a status from before the last caption says nothing about the end.
            fed = feeding.done()
            status = reader.read()
            progress.show(status)
            if fed:
                result = feeding.result()
                if has_settled(status, result):
                    return status, result
            if patience.exhausted(status, fed=fed):
                return status, _given_up(feeding, status)


def has_settled(status: StreamStatus, ingested: IngestResult) -> bool:
    """Whether everything that was fed has its outcome. A commit returns before its records can be read, so the stream may
    look at rest because what was fed does not show yet."""
    return status.ingested >= ingested.ingested and not status.lag and not status.gaps()


class Patience:
    """How long to wait when nothing changes any more."""

    def __init__(self) -> None:
        self._last: StreamStatus | None = None
        self._since = time.monotonic()

    def exhausted(self, status: StreamStatus, *, fed: bool) -> bool:
        """Whether nothing has changed for so long that nothing will."""
        now = time.monotonic()
        if status != self._last:
            self._last, self._since = status, now
        at_rest = fed and not status.lag
        return now - self._since > (SETTLE_S if at_rest else STALL_S)


def _given_up(feeding: "Future[IngestResult]", status: StreamStatus) -> IngestResult:
    """What was ingested, when the stream is at rest though it does not add up. Raises DemoError when it is stuck."""
    if feeding.done() and not status.lag:
        return feeding.result()
    waiting = ", ".join(f"{worker.worker} has {worker.lag} to go" for worker in status.workers if worker.lag)
    raise DemoError(f"nothing has moved for {STALL_S:.0f} s: {waiting or 'the captions are still being read'}")


def _check_alive(supervisor: Supervisor) -> None:
    for program in supervisor.status():
        if program.deaths_in_a_row >= MAX_DEATHS:
            last = program.last_lines[-1] if program.last_lines else "it said nothing"
            raise DemoError(f"{program.name} died {program.deaths_in_a_row} times in a row: {last}")


def _ingest(layers: Layers, captions: Path, limit: int | None, interrupt: Interrupt) -> IngestResult:
    section = layers.section(INGEST, IngestSettings)
    return ingest_files(layers.common(), section, [captions], limit=limit, stopping=interrupt.asked.is_set)


def _failures(status: StreamStatus, ingested: IngestResult) -> list[str]:
    found = []
    if ingested.failed:
        found.append(f"{ingested.failed} items of the captions file are no captions")
    if status.failed:
        found.append(f"{status.failed} inputs could not be worked on")
    if status.lag:
        found.append(f"{status.lag} inputs are still waiting")
    return found


def _log_line(write: Callable[[str], object], name: str, line: str) -> None:
    write(f"{name:<17} | {escape(line, keep=TAB)}\n")
