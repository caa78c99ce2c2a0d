"""`imgdiff up`: all workers on this machine."""

import re
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from ops.cli.options import SettingsOptions, settings_options

if TYPE_CHECKING:
    from common.settings import CommonSettings

STOP_MARGIN_S = 15.0
"""What a worker may take to leave, beyond the budget for its work in flight."""

MAX_WORKERS = 64
DEVICE = re.compile(r"cpu|cuda(:\d+)?")


@click.command()
@click.option(
    "--workers",
    "counts",
    multiple=True,
    metavar="NAME=N",
    help="How many of one worker, such as boxes=3; may be given again.  [default: 1 of each]",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="[NAME=]DEVICE[,DEVICE]",
    help="Where the workers compute, such as cuda:0, or boxes=cuda:1,cuda:2 for one stage's in turn; may be given again.",
)
@click.option(
    "--targets",
    type=click.Path(path_type=Path),
    default=Path(".imgdiff/prometheus/targets.json"),
    show_default=True,
    help="File in which Prometheus finds the workers; there while they run.",
)
@settings_options
def up(settings: SettingsOptions, counts: Sequence[str], devices: Sequence[str], targets: Path) -> int:
    """Run all workers on this machine, each a process of its own, until SIGTERM or Ctrl-C.

    Whoever dies is started again, after a wait that grows from half a second to half a minute. A worker whose first
    start finds it set up wrongly (exit code 78) stops everything. On Ctrl-C the workers finish and commit what they have
    begun; a second Ctrl-C ends them at once.
    """
    from ops.supervisor import Supervisor
    from ops.up.log import PrefixedLog
    from ops.up.programs import WorkerPrograms
    from ops.up.targets import prometheus_targets

    numbers = _parse(counts)
    placed = _placed(devices)
    common = _common(settings)
    workers = list(WorkerPrograms(settings.arguments(), devices=placed).all(numbers))
    log = PrefixedLog([worker.program.name for worker in workers])
    supervisor = Supervisor(log)
    stop, at_once = threading.Event(), threading.Event()
    _install_signals(stop, at_once)
    with prometheus_targets(targets, common.http.host, workers):
        try:
            for worker in workers:
                supervisor.start(worker.program)
            supervisor.run(stop)
        finally:
            log("up", "stopping the workers")
            orderly = supervisor.stop(common.runtime.drain_budget_s + STOP_MARGIN_S, at_once)
    return 0 if orderly else 1


def _common(settings: SettingsOptions) -> "CommonSettings":
    """The settings of all workers, looked at before any of them starts."""
    from common.runtime.errors import ConfigurationError

    layers = settings.layers()
    common = layers.common()
    if common.http.port:
        raise ConfigurationError(
            f"setting `http.port` (from {layers.origins['http.port']}): found {common.http.port}, expected 0: "
            "`imgdiff up` gives each worker a port of its own"
        )
    return common


def _parse(counts: Sequence[str]) -> dict[str, int]:
    from ops.workers import WORKERS

    numbers: dict[str, int] = {}
    for text in counts:
        name, _, number = text.partition("=")
        if name not in WORKERS or not (number.isascii() and number.isdigit() and int(number) <= MAX_WORKERS):
            raise click.UsageError(
                f"--workers {text}: expected NAME=N with a name of {', '.join(WORKERS)} and N from 0 to {MAX_WORKERS}"
            )
        numbers[name] = int(number)
    return numbers


def _placed(devices: Sequence[str]) -> dict[str, list[str]]:
    """The devices of each worker that has any, one given without a name for those that are not named."""
    from ops.workers import WORKERS

    placed: dict[str, list[str]] = {}
    for text in sorted(devices, key=lambda text: "=" in text):
        name, equals, listed = text.rpartition("=")
        found = listed.split(",")
        if (equals and name not in WORKERS) or not all(DEVICE.fullmatch(device) for device in found):
            raise click.UsageError(
                f"--device {text}: expected DEVICE or NAME=DEVICE with a name of {', '.join(WORKERS)} and devices such as "
                "cpu, cuda or cuda:1, comma-separated"
            )
        placed |= dict.fromkeys([name] if equals else WORKERS, found)
    return placed


def _install_signals(stop: threading.Event, at_once: threading.Event) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            at_once.set()
        stop.set()

    # A closed terminal is an order to stop too: the workers have sessions of their own and would outlive it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handle)
