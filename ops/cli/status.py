"""`imgdiff status`: the funnel at one moment, or again and again."""

import time
from typing import TYPE_CHECKING

import click

from ops.cli.options import SettingsOptions, json_option, settings_options

if TYPE_CHECKING:
    from ops.status import StatusReader, StreamStatus

REFRESH_S = 1.0


@click.command()
@click.option("--watch", is_flag=True, help="Show it anew each second until Ctrl-C.")
@json_option
@settings_options
def status(settings: SettingsOptions, *, watch: bool, as_json: bool) -> None:
    """Show the funnel: what was ingested, what every worker made of its input, and what lies in the dataset.

    For every worker consumed = passed on + rejected + failed. The counters commit with the work, so they are exact.
    """
    from ops.cli.output import print_json
    from ops.stream import open_status

    with open_status(settings.layers()) as reader:
        if watch:
            _watch(reader, as_json)
        elif as_json:
            print_json(reader.read().to_json())
        else:
            print_status(reader.read())


def print_status(found: "StreamStatus") -> None:
    """The funnel as a table on standard output."""
    from ops.cli.output import print_table
    from ops.funnel import AT_WORK, headings, rows

    click.echo(f"{found.ingested} captions ingested")
    print_table(headings(AT_WORK), rows(found, AT_WORK))
    click.echo(f"{found.dataset.samples} samples in {found.dataset.path}")


def _watch(reader: "StatusReader", as_json: bool) -> None:
    import sys

    from ops.cli.output import console, print_json, table_of
    from ops.funnel import AT_WORK, headings, rows

    if as_json or not sys.stdout.isatty():
        while True:
            if as_json:
                print_json(reader.read().to_json())
            else:
                print_status(reader.read())
            time.sleep(REFRESH_S)
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    drawn = console()
    with Live(console=drawn, auto_refresh=False, screen=False) as live:
        while True:
            found = reader.read()
            live.update(
                Group(
                    Text(f"{found.ingested} captions ingested   {time.strftime('%H:%M:%S')}"),
                    table_of(headings(AT_WORK), rows(found, AT_WORK), drawn.width),
                    Text(f"{found.dataset.samples} samples in {found.dataset.path}"),
                ),
                refresh=True,
            )
            time.sleep(REFRESH_S)
