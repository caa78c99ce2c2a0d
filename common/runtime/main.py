"""The entry point of every worker process."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from common.logs import configure_logging
from common.runtime.errors import ConfigurationError
from common.runtime.exits import ExitCode
from common.runtime.options import compute_options
from common.runtime.spec import WorkerSpec
from common.secrets import SECRETS
from common.settings import load_layers, section_of
from common.terminal import escape


def worker_main(spec: WorkerSpec[Any], arguments: Sequence[str] | None = None) -> int:
    """Run a worker with the settings of this process's environment and arguments; the exit code."""

    @click.command(
        name=f"python -m workers.{section_of(spec.route.worker)}", help=f"Run one `{spec.route.worker}` worker."
    )
    @click.option("--settings", "file", type=click.Path(path_type=Path), help="A TOML file of settings.")
    @click.option("--profile", help="The profile to start from.")
    @click.option("--set", "flags", multiple=True, metavar="KEY=VALUE", help="One setting; may be given again.")
    @compute_options
    def command(compute: tuple[str, ...], file: Path | None, profile: str | None, flags: tuple[str, ...]) -> int:
        return run_worker(spec, file, (*flags, *compute), profile)

    try:
        code: int = command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except ConfigurationError as error:
        sys.stderr.write(f"{escape(SECRETS.hidden_in(str(error)))}\n")
        return ExitCode.CONFIGURATION
    return code


def run_worker(
    spec: WorkerSpec[Any], file: Path | None = None, flags: Sequence[str] = (), profile: str | None = None
) -> int:
    """Run a worker until it is told to stop. Raises ConfigurationError for settings that are wrong."""
    from common.runtime.worker import Worker, install_signals

    layers = load_layers(os.environ, file, flags, profile)
    common = layers.common()
    settings = layers.section(section_of(spec.route.worker), spec.settings)
    configure_logging(spec.route.worker)
    worker = Worker(spec, settings, common, os.environ)
    install_signals(worker, give_up=lambda: os._exit(ExitCode.OTHER))
    code = worker.run()
    sys.stderr.flush()
    # Threads that hang in a library must not keep a process that has said its last word.
    os._exit(code)
