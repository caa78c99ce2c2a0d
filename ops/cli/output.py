"""What commands print. Texts from records and logs are untrusted: what could steer a terminal is escaped."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from common.terminal import escape

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH_WITHOUT_TERMINAL = 160

GAP = 3
"""Characters between two columns of a table, and between two cells of a record."""
NARROW_GAP = 2
"""The same where a table has no room for more."""


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
        drawn = console(stream)
        drawn.print(table_of(headings, rows, drawn.width))
        return
    for row in [[heading.removeprefix(">") for heading in headings], *rows]:
        click.echo("\t".join(escape(cell) for cell in row), file=stream)


def table_of(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> "RenderableType":
    """A table to draw on a terminal of `width` characters, as `print_table` says, with every cell whole.

    Where it is too wide for that, headings fold at their spaces, and so does the last column; then columns move closer; and
    where that is not enough, each row becomes a record: its first cell, then the others with their headings.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    def longest(texts: Iterable[str]) -> int:
        return max(map(cell_len, texts), default=0)

    names = [heading.removeprefix(">") for heading in headings]
    cells = [[escape(cell) for cell in row] for row in rows]
    columns = [list(column) for column in zip(*cells, strict=True)] or [[] for _ in names]
    whole = [longest([name, *column]) for name, column in zip(names, columns, strict=True)]
    narrow = [longest([*name.split(), *column]) for name, column in zip(names, columns, strict=True)]
    narrow[-1] = longest(word for cell in [names[-1], *columns[-1]] for word in cell.split())
    # Less what stands between the columns, and one character at each edge.
    rooms = {gap: width - gap * (len(names) - 1) - 2 for gap in (GAP, NARROW_GAP)}
    gap, room = next(((gap, room) for gap, room in rooms.items() if sum(narrow) <= room), (0, 0))
    if not gap:
        return Text("\n".join(line for row in cells for line in _record(names, row, width)))
    widths = whole if sum(whole) <= room else [*narrow[:-1], min(whole[-1], room - sum(narrow[:-1]))]
    # One character of the gap is the box's.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, gap - NARROW_GAP))
    for name, heading, column_width in zip(names, headings, widths, strict=True):
        table.add_column(
            name, justify="right" if heading.startswith(">") else "left", overflow="fold", width=column_width
        )
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _record(names: Sequence[str], cells: Sequence[str], width: int) -> Iterator[str]:
    """The lines of a row in a terminal that is too narrow for its table: one where they fit. Empty cells are left out, and
    one that is longer than a line makes a line that is too long: it folds at its spaces when it is drawn."""
    from rich.cells import cell_len

    gap = " " * GAP
    parts = [f"{name}: {cell}" for name, cell in zip(names[1:], cells[1:], strict=True) if cell]
    line = gap.join([cells[0], *parts])
    if cell_len(line) <= width:
        yield line
        return
    yield cells[0]
    line = ""
    for part in parts:
        longer = f"{line}{gap}{part}" if line else f"  {part}"
        if line and cell_len(longer) > width:
            yield line
            longer = f"  {part}"
        line = longer
    yield line
