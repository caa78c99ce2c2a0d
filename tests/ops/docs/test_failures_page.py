"""The page of failures names everything that the program can end with, and nothing that it can not say."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

import common
from common.runtime.exits import ExitCode
from common.settings import load_layers
from ops.docs.failures import FAILURES, Failure, failures_page
from ops.docs.metrics import sample_metrics
from ops.effective import effective_settings
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.invalid import InvalidReason

SOURCE = "\n".join(path.read_text() for path in Path(common.__path__[0]).rglob("*.py"))


def test_every_exit_code_has_a_row() -> None:
    assert {row.signs.exits for row in FAILURES} - {None} == set(ExitCode)


def test_every_kind_and_every_reason_of_failing_has_a_row() -> None:
    expected: set[StrEnum] = {*PoisonReason, *InvalidReason}
    listed = [reason for row in FAILURES for reason in row.signs.reasons]
    assert sorted(listed) == sorted(expected)
    assert {row.signs.kind for row in FAILURES} - {None} == set(DeadLetterKind)


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.what[:30])
def test_what_a_row_names_is_there(row: Failure) -> None:
    # A message may be written over two lines, or begin with the name of what it is about.
    assert row.signs.log in re.sub(r'"\s+f?"', "", SOURCE)
    metrics = {family.name for family in sample_metrics().registry.collect()}
    assert row.signs.metric.removesuffix("_total") in {"", *metrics}
    settings = {setting.key for setting in effective_settings(load_layers({}))}
    named = set(re.findall(r"`(runtime\.[a-z_]+)`", f"{row.what} {row.does} {row.remedy}"))
    assert named <= settings


def test_the_page_has_each_row_once() -> None:
    lines = failures_page().splitlines()
    for row in FAILURES:
        assert sum(line.startswith(f"| {row.what} |") for line in lines) == 1
