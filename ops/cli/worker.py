"""`imgdiff worker STAGE`: one worker in this process."""

import click

from common.runtime.options import compute_options
from ops.cli.options import SettingsOptions, settings_options


@click.command()
@click.argument("stage")
@settings_options
@compute_options
def worker(compute: tuple[str, ...], settings: SettingsOptions, stage: str) -> int:
    """Run one worker of STAGE until SIGTERM or Ctrl-C: edits, pairs, boxes, region-captions, qa or dataset."""
    from common.runtime.main import run_worker
    from ops.workers import UnknownWorkerError, spec_of

    try:
        spec = spec_of(stage)
    except UnknownWorkerError as error:
        raise click.UsageError(str(error)) from error
    return run_worker(spec, settings.file, (*settings.flags, *compute), settings.profile)
