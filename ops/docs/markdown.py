"""What the pages are made of."""

from collections.abc import Iterable, Sequence

NOTICE = "<!-- Written by `python -m ops.docs`. Change the program, not this page. -->"


def page(title: str, *blocks: str) -> str:
    """A whole file."""
    return "\n\n".join([f"# {title}", NOTICE, *blocks]) + "\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. Cells are Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def code(text: str) -> str:
    """Text as it is written in programs; nothing for nothing."""
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
