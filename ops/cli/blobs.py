"""`imgdiff blobs`: the store of pictures."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ops.cli.options import SettingsOptions, json_option, settings_options
from ops.cli.stopping import stop_signals

if TYPE_CHECKING:
    from ops.blobs.collect import Collected


PROGRESS_S = 10.0
"""How often progress is told where it is not drawn."""


@click.group()
def blobs() -> None:
    """The store of pictures, and what else lies beside them."""


@blobs.command()
@click.option(
    "--older-than",
    metavar="TIME",
    help="Only what was last stored before: 2026-11-21T15:04 (UTC), 48h, 30d; at least 24 hours ago. Without it, the "
    "longest retention of the topics ago.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
@settings_options
def gc(settings: SettingsOptions, *, older_than: str | None, dry_run: bool, as_json: bool) -> int:
    """Remove what nobody needs any more.

    \b
    imgdiff blobs gc --dry-run
    imgdiff blobs gc

    That is pictures to which no record of any topic refers (of all streams on the cluster: they may share the store)
    and no row of the dataset; shards in pending/ that were never committed; and marks of crashed workers. All of it
    only when it is old. Workers may go on meanwhile. It removes nothing while a stream that stores pictures here is out of
    its sight: on another cluster, or of topics that this user may not read. Ctrl-C stops it in good order, with exit code 1.
    """
    from common.runtime.exits import ExitCode
    from common.settings import section_of
    from ops.blobs.collect import LEAST_AGE_S, Collection, retention_s
    from ops.cli.output import print_json
    from ops.dead_letters.filters import parse_time
    from schemas.topics import DATASET
    from workers.dataset.settings import DatasetSettings

    now = time.time()
    layers = settings.layers()
    common = layers.common()
    cutoff = min(now - retention_s(common), now - LEAST_AGE_S)
    if older_than is not None:
        try:
            cutoff = parse_time(older_than, now)
        except ValueError as error:
            raise click.UsageError(f"--older-than {older_than}: {error}") from error
        if cutoff > now - LEAST_AGE_S:
            raise click.UsageError(
                f"--older-than {older_than}: expected at least {LEAST_AGE_S / 3_600:.0f}h: what is younger may belong to "
                "work in flight"
            )
    with stop_signals() as stopping, _progress_line() as report:
        dataset = layers.section(section_of(DATASET.worker), DatasetSettings)
        collected = Collection(common, dataset, cutoff, dry_run=dry_run, stopping=stopping, report=report).run()
    if as_json:
        print_json(collected.to_json())
    elif collected.kinds:
        _print(collected)
    else:
        click.echo(f"{collected.records} records read; the store has not been looked at, and nothing removed", err=True)
    if not collected.complete:
        click.echo("imgdiff: stopped; run it again to go on", err=True)
        return ExitCode.OTHER
    return ExitCode.DONE


def _print(collected: "Collected") -> None:
    from ops.cli.output import print_table

    click.echo(
        f"{collected.records} records of {', '.join(collected.streams)} and the dataset refer to "
        f"{collected.referenced} digests"
    )
    verb = "would be removed" if collected.dry_run else "removed"
    print_table(
        ["", ">stored", ">referred to", ">too young", f">{verb}", ">bytes"],
        [
            [name, *map(str, (k.stored.files, k.referenced.files, k.young.files, k.removed.files, k.removed.bytes))]
            for name, k in collected.kinds.items()
        ],
    )


@contextmanager
def _progress_line() -> Iterator[Callable[[str], None]]:
    """Shows what is being done on standard error: one line that changes on a terminal, now and then a line elsewhere."""
    drawn = sys.stderr.isatty()
    said_at = time.monotonic()

    def report(doing: str) -> None:
        nonlocal said_at
        if drawn:
            click.echo(f"\r\x1b[K{doing}", err=True, nl=False)
        elif time.monotonic() - said_at > PROGRESS_S:
            said_at = time.monotonic()
            click.echo(doing, err=True)

    try:
        yield report
    finally:
        if drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
