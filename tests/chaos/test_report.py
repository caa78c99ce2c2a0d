"""The page says what is tried."""

from tests.chaos.faults import KINDS
from tests.chaos.report import PAGE, RESULTS, fixed, renewed


def test_the_page_is_that_of_this_harness() -> None:
    assert PAGE.read_text() == renewed(PAGE.read_text()), "write it again: make docs"


def test_the_page_has_every_kind_and_results() -> None:
    assert all(f"`{kind.name}`" in fixed() for kind in KINDS)
    assert RESULTS in PAGE.read_text()
