"""Over 10,000 bad inputs through everything that takes any: a value or the documented error, in bounded time and memory.

A failure names area, number and seed: `feed(area, folder, number + 1, seed)` brings the same input back.
"""

from pathlib import Path

import pytest

from tests.malformed import files, records, replies, words
from tests.malformed.areas import Area, feed

AREAS: tuple[Area, ...] = (*records.AREAS, *files.AREAS, *words.AREAS, *replies.AREAS)


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name.replace(" ", "-"))
def test_bad_inputs_end_as_the_documentation_says(area: Area, tmp_path: Path) -> None:
    assert feed(area, tmp_path, area.inputs, seed=1) == area.inputs


def test_these_are_more_than_ten_thousand() -> None:
    assert len({area.name for area in AREAS}) == len(AREAS)
    assert sum(area.inputs for area in AREAS) >= 10_000


@pytest.mark.long
@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name.replace(" ", "-"))
def test_four_times_as_many(area: Area, tmp_path: Path) -> None:
    assert feed(area, tmp_path, 4 * area.inputs, seed=2) == 4 * area.inputs
