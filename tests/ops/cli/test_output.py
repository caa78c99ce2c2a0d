"""What commands print is safe for terminals and simple for scripts."""

import io
import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.terminal import escape
from ops.cli.output import print_table
from ops.dead_letters.statistics import QUANTILES
from ops.funnel import AT_WORK, headings


@given(st.text())
def test_escaped_text_is_printable_and_printable_text_is_left_alone(text: str) -> None:
    escaped = escape(text)
    # Spaces of every kind only look alike; they steer nothing.
    assert all(c.isprintable() or c.isspace() for c in escaped)
    assert not any(c in escaped for c in "\n\r\t\x1b\u2028")
    if text.isprintable():
        assert escaped == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("\x1b[31m", "\\x1b[31m"), ("a\nb", "a\\nb"), ("\u202eabc", "\\u202eabc"), ("Ein Hündchen 🐶", "Ein Hündchen 🐶")],
)
def test_what_could_steer_a_terminal_is_spelt_out(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_line_ends_are_kept_where_they_are_wanted() -> None:
    assert escape("a\nb\x07", keep="\n") == "a\nb\\x07"


def test_a_table_is_one_line_per_row_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    print_table(["name", ">count"], [["[bold]boxes", "3"], ["a\tb", "10"]], stream)
    assert stream.getvalue() == "name\tcount\n[bold]boxes\t3\na\\tb\t10\n"


class Terminal(io.StringIO):
    """Takes what is drawn. Its width is that of the variable COLUMNS."""

    def isatty(self) -> bool:
        return True


def test_a_table_is_drawn_on_a_terminal_and_knows_no_markup() -> None:
    stream = Terminal()
    print_table(["name", ">count"], [["[bold]boxes", "3"]], stream)
    assert "[bold]boxes" in stream.getvalue()


REVISION = "0123456789abcdef0123456789abcdef01234567"
TABLES: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]] = {
    "status": (
        headings(AT_WORK),
        [
            ["region-captions", "1234567", "1000000", "1000001", "234567", "12", "345", "1952", "48", ""],
            ["boxes", "19", "1", "2", "17", "1", "0", "0", "1", "pair_too_similar 12, no_segments 5, exception 1"],
        ],
    ),
    "stats": (
        ["stage", "score", ">count", ">too low", ">too high", ">min", *[f">{q:.0%}" for q in QUANTILES], ">max", "bounds"],
        [["boxes", "pair_similarity", "1952", "3", "19", "-0.4501", *["-0.3531"] * 5, "1.501", "(0.9, 0.98)"]],
    ),
    "what-if": (
        ["stage", "filter", ">rejected", ">would pass", ">passed", ">would not", "bounds"],
        [
            ["region-captions", "(all filters)", "123456", "12345", "234567", "1234", ""],
            ["region-captions", "text_similarity", "", "54321", "", "4321", "(-inf, 0.85)"],
        ],
    ),
    "models": (
        ["role", "adapter", "model", "revision", "licence", ">size", "here"],
        [
            ["caption_editor", "transformers", "lmsys/vicuna-13b-v1.5", REVISION, "Llama 2", "26.03 GB", "complete"],
            ["segmenter", "sketch", "-", "-", "-", "-", "needs none"],
        ],
    ),
    "settings": (
        ["setting", "value", "from"],
        [
            ["models.difference_describer.weights.revision", f'"{REVISION}"', "profile paper"],
            ["models.caption_editor.options.prompt", f'"{"Say it again. " * 20}"', "--set models.caption_editor"],
        ],
    ),
}  # fmt: skip
"""What the commands of these names print where it is widest, or nearly."""


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", TABLES)
def test_no_cell_of_a_table_is_cut_in_a_narrow_terminal(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    given, rows = TABLES[name]
    print_table(given, rows, stream)
    lines = [line.rstrip() for line in plain(stream).splitlines()]
    assert max(map(len, lines)) <= width
    for heading in given[1:]:
        assert all(any(word in line for line in lines) for word in heading.removeprefix(">").split())
    for row in rows:
        for cell in row:
            # What is longer than a line, and the last column, fold at spaces.
            words = cell.split() if len(cell) > width or cell == row[-1] else [cell]
            assert all(any(word in line for line in lines) for word in words), cell


def test_a_row_is_a_record_where_the_table_is_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["edits", "1952", "1234567", "few"], ["boxes", "3", "", "none of those that were asked for"]]
    for width, drawn in (
        (
            30,
            [
                "edits",
                "  consumed: 1952",
                "  passed on: 1234567",
                "  why: few",
                "boxes",
                "  consumed: 3",
                "  why: none of those that were",
                "asked for",
            ],
        ),
        (
            45,
            [
                "                      passed",
                " worker   consumed        on   why",
                " " + "─" * 43,
                " edits        1952   1234567   few",
                " boxes           3             none of those",
                "                               that were",
                "                               asked for",
            ],
        ),
        (
            80,
            [
                " worker   consumed   passed on   why",
                " " + "─" * 65,
                " edits        1952     1234567   few",
                " boxes           3               none of those that were asked for",
            ],
        ),
    ):
        monkeypatch.setenv("COLUMNS", str(width))
        stream = Terminal()
        print_table(["worker", ">consumed", ">passed on", "why"], rows, stream)
        assert [line.rstrip() for line in plain(stream).splitlines() if line.strip()] == drawn


def test_a_table_without_rows_has_its_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    print_table(["name", ">count"], [], stream)
    assert plain(stream).split()[:2] == ["name", "count"]


def plain(stream: Terminal) -> str:
    """What a terminal shows, without the sequences that make it bold."""
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
