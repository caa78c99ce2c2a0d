"""`imgdiff dead-letters replay` and `purge`: what changes the topics."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ops.cli.dead_letter_filters import FilterOptions, filter_options
from ops.cli.options import SettingsOptions, json_option, settings_options
from ops.cli.stopping import stop_signals

if TYPE_CHECKING:
    from ops.dead_letters.replay import ReplayResult
    from schemas.replays import ReplayJob


@click.command()
@filter_options
@click.option(
    "--would-pass", is_flag=True, help="Only those that would pass under these settings, as what-if counts them."
)
@click.option(
    "--again", is_flag=True, help="Also those that have been sent again before: their results will be there twice."
)
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Refuse those that have been tried this often already.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Send at most N.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Send at most N per second.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@json_option
@settings_options
def replay(
    settings: SettingsOptions,
    *,
    chosen: FilterOptions,
    would_pass: bool,
    again: bool,
    max_attempts: int,
    limit: int | None,
    rate: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Send dead letters of one stage (--stage) again: the original bytes, to the partition that they came from.

    \b
    imgdiff dead-letters replay --stage boxes --reason image_missing --dry-run
    imgdiff dead-letters replay --stage boxes --reason image_missing

    Each goes once, whatever other replays choose, unless --again asks for more. A replay is a job: it ends where the
    dead letters ended when it began. After a crash or Ctrl-C the same command goes on with it, and neither loses nor
    repeats one. One replay per stage is at work at a time: a second one ends the first, which exits with 75. With exit
    code 1 some were refused; the dead letters themselves stay where they are.
    """
    from common.runtime.exits import ExitCode
    from common.runtime.faults import Faults
    from common.terminal import escape
    from ops.cli.output import print_json
    from ops.dead_letters.filters import replayable
    from ops.dead_letters.replay import Replay, ReplayRequest
    from ops.dead_letters.what_if import bounds_in_force
    from ops.transactions import InterruptedRunError

    wanted = chosen.filter()
    stage = wanted.stage
    if stage is None or stage not in replayable():
        found = "no --stage" if stage is None else f"--stage {stage}, which reads files"
        raise click.UsageError(f"found {found}, expected one of {', '.join(replayable())}")
    layers = settings.layers()
    bounds = bounds_in_force(layers, stage) if would_pass else None
    asked = {
        **asdict(chosen),
        "again": again,
        "max_attempts": max_attempts,
        "limit": limit,
        "passing": None if bounds is None else {name: each.model_dump(mode="json") for name, each in bounds.items()},
    }
    request = ReplayRequest(wanted, json.dumps(asked, sort_keys=True), max_attempts, again, limit, bounds)
    faults = Faults.from_environment(os.environ, "replay")
    try:
        with stop_signals() as stopping, _progress_line() as report:
            job = Replay(layers.common(), request, rate=rate, faults=faults, stopping=stopping, report=report)
            result = job.dry_run() if dry_run else job.run()
    except InterruptedRunError as error:
        click.echo(f"imgdiff: {escape(str(error))}", err=True)
        return ExitCode.OTHER
    if as_json:
        print_json(asdict(result))
    else:
        click.echo(_summary(result))
    if not result.complete:
        click.echo("imgdiff: stopped; run the same command again to go on", err=True)
    return ExitCode.OTHER if result.refused or not result.complete else ExitCode.DONE


@click.command()
@filter_options
@click.option("--yes", is_flag=True, help="Delete them. Without it nothing is deleted.")
@json_option
@settings_options
def purge(settings: SettingsOptions, *, chosen: FilterOptions, yes: bool, as_json: bool) -> int:
    """Delete dead letters for good.

    \b
    imgdiff dead-letters purge --stage boxes --until 30d         # shows what would go
    imgdiff dead-letters purge --stage boxes --until 30d --yes

    Kafka deletes only from the beginning of a partition. So of each partition goes what lies before the first dead
    letter that the options do not cover; never one that they do not cover. Those behind it stay, and are counted: a
    time or a whole stage leaves few, a single reason leaves most. `not` in --where also covers what has no such score,
    and the command says how many those are. Nothing is deleted without --yes, and the command then ends with 1.
    """
    from common.runtime.exits import ExitCode
    from ops.cli.output import print_json, print_table
    from ops.dead_letters.purge import plan_purge
    from ops.dead_letters.purge import purge as delete

    wanted = chosen.filter()
    common = settings.layers().common()
    plans = plan_purge(common, wanted)
    covered, behind = sum(plan.covered for plan in plans), sum(plan.behind for plan in plans)
    unmeasured = sum(plan.unmeasured for plan in plans)
    deleted = delete(common, plans) if yes else 0
    if as_json:
        print_json({"covered": covered, "behind": behind, "unmeasured": unmeasured, "deleted": deleted})
    else:
        rows = [[f"{p.partition.topic}/{p.partition.index}", str(p.covered), str(p.behind)] for p in plans]
        if rows:
            print_table(["partition", ">to delete", ">not at the beginning"], rows)
        click.echo(f"{covered} can be deleted, {behind} lie behind others that stay; {deleted} deleted")
        if unmeasured and wanted.where is not None:
            asked = ", ".join(sorted(wanted.where.names()))
            click.echo(f"{unmeasured} of the {covered} lack a score that --where asks for ({asked})")
    if covered and not yes:
        click.echo("imgdiff: nothing deleted: --yes deletes them for good", err=True)
        return ExitCode.OTHER
    return ExitCode.DONE


def _summary(result: "ReplayResult") -> str:
    refused = "".join(f", {count} refused ({reason})" for reason, count in sorted(result.refused.items()))
    verb = "would be sent again" if result.dry_run else "sent again"
    before = f", {result.already_sent} sent before" if result.already_sent else ""
    job = "" if result.dry_run else f" (job {result.job}{', gone on with' if result.resumed else ''})"
    return f"{result.stage}: {result.sent} {verb}{before}{refused}{job}"


@contextmanager
def _progress_line() -> "Iterator[Callable[[ReplayJob], None]]":
    """Shows progress on standard error where that is a terminal."""
    shown = sys.stderr.isatty()

    def report(job: "ReplayJob") -> None:
        if shown:
            click.echo(f"\rjob {job.id}: {job.sent} sent again", err=True, nl=False)

    try:
        yield report
    finally:
        if shown:
            click.echo("", err=True)
