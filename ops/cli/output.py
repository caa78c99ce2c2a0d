"""What commands print. Texts from records and logs are untrusted: what could steer a terminal is escaped."""

import json
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from common.terminal import escape

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 160


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    click.echo(json.dumps(value))


def console(stream: IO[str] | None = None) -> "Console":
    """A console that never takes what it prints for markup."""
    from rich.console import Console

    stream = stream or sys.stdout
    width = None if stream.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], stream: IO[str] | None = None) -> None:
    """A table: drawn on a terminal, one line of tab-separated cells per row elsewhere. Cells are escaped.

    Headings that begin with `>` are those of numbers, and stand to the right.
    """
    stream = stream or sys.stdout
    if stream.isatty():
        console(stream).print(table_of(headings, rows))
        return
    for row in [[heading.removeprefix(">") for heading in headings], *rows]:
        click.echo("\t".join(escape(cell) for cell in row), file=stream)


def table_of(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    """A table to draw on a terminal, as `print_table` says. The last column gives way where it is narrow."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    last = len(headings) - 1
    for index, heading in enumerate(headings):
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if heading.startswith(">") else "left",
            overflow="fold",
            no_wrap=index < last,
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
