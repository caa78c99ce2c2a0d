"""A stream per test, whose processes end with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kit import Stream


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    """An empty stream with its topics and its store."""
    made = Stream(broker, prefix, tmp_path).create()
    yield made
    made.end()
