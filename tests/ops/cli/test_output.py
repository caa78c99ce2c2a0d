"""What commands print is safe for terminals and simple for scripts."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.terminal import escape
from ops.cli.output import print_table


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


def test_a_table_is_drawn_on_a_terminal_and_knows_no_markup() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    print_table(["name", ">count"], [["[bold]boxes", "3"]], stream)
    assert "[bold]boxes" in stream.getvalue()
