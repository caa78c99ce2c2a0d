"""The reference pages are those of this program, and whole."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from common.settings import load_layers
from ops.docs.__main__ import main
from ops.docs.docstrings import UndocumentedError, explanations
from ops.docs.markdown import table
from ops.docs.metrics import metrics_page, sample_metrics
from ops.docs.pages import PAGES
from ops.docs.reasons import reasons_page
from ops.docs.settings import settings_page
from ops.effective import effective_settings
from ops.ingest.items import ItemReason
from ops.workers import WORKERS, spec_of
from schemas.dead_letters import PoisonReason
from schemas.invalid import InvalidReason

DOCS = Path(__file__).parents[3] / "docs"


class Colour(StrEnum):
    RED = "red"
    """Like a tomato | or a
    rose."""
    GREEN = "green"
    """Like grass."""


class Mood(StrEnum):
    GOOD = "good"
    """As it should be."""
    BAD = "bad"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/{name} is stale: run `python -m ops.docs`"


def test_pages_are_written_where_one_says(tmp_path: Path) -> None:
    main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PAGES)


def first_cells(page: str) -> list[str]:
    """What stands in the first column of the page's tables."""
    return re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)


def test_every_metric_is_on_its_page() -> None:
    listed = first_cells(metrics_page())
    for family in sample_metrics().registry.collect():
        assert f"{family.name}_total" in listed or family.name in listed


def test_every_reason_is_on_its_page() -> None:
    listed = first_cells(reasons_page())
    enums: list[type[StrEnum]] = [
        InvalidReason,
        PoisonReason,
        ItemReason,
        *(spec_of(worker).reasons for worker in WORKERS),
    ]
    assert {reason.value for reasons in enums for reason in reasons} <= set(listed)


def test_every_setting_is_on_its_page() -> None:
    listed = first_cells(settings_page())
    for setting in effective_settings(load_layers({})):
        key = re.sub(r"^models\.[a-z_]+\.", "models.NAME.", setting.key)
        assert key in listed or key.rpartition(".")[0] in listed, f"{key} is not on the page"


def test_the_variable_on_the_page_sets_the_setting() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `(IMGDIFF_[A-Z_]+)` \|", settings_page(), re.MULTILINE)
    assert len(rows) > 50
    for key, variable in rows:
        if "NAME" not in key and key != "profile":
            assert load_layers({variable: "1"}).origins[key] == f"environment {variable}"


def test_members_are_explained_by_the_docstring_under_them() -> None:
    assert explanations(Colour) == {"red": "Like a tomato | or a\nrose.", "green": "Like grass."}


def test_a_member_without_docstring_is_named() -> None:
    with pytest.raises(UndocumentedError, match=r"^Mood\.BAD has no docstring$"):
        explanations(Mood)


def test_a_cell_is_one_line_and_no_cell_more() -> None:
    assert table(["Colour", "Like"], list(explanations(Colour).items())).splitlines() == [
        "| Colour | Like |",
        "| --- | --- |",
        "| red | Like a tomato \\| or a rose. |",
        "| green | Like grass. |",
    ]
