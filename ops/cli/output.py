"""What commands print. Texts from records and logs are untrusted: what could steer a terminal is escaped."""

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, change the direction of writing, or show as nothing."""


def escape(text: str, keep: str = "") -> str:
    """The text with control and invisible characters as `\\x1b` or `\\u202e`, but for those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _STEERING
        else character.encode("unicode_escape").decode()
        for character in text
    )


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    click.echo(json.dumps(value))


def console(stream: IO[str] | None = None) -> "Console":
    """A console that never takes what it prints for markup."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, markup=False, highlight=False, emoji=False)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], stream: IO[str] | None = None) -> None:
    """A table: drawn on a terminal, one line of tab-separated cells per row elsewhere. Cells are escaped.

    Headings that begin with `>` are those of numbers, and stand to the right.
    """
    stream = stream or sys.stdout
    titles = [heading.removeprefix(">") for heading in headings]
    cells = [[escape(cell) for cell in row] for row in rows]
    if not stream.isatty():
        for line in [titles, *cells]:
            click.echo("\t".join(line), file=stream)
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, title in zip(headings, titles, strict=True):
        table.add_column(title, justify="right" if heading.startswith(">") else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console(stream).print(table)
