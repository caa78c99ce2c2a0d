"""The topics as they are asked for."""

import pytest

from common.settings import load_layers
from ops.topics import HOUR_MS, wanted_topics


@pytest.mark.parametrize(("retention_hours", "segment_hours"), [(168, 24), (6, 6)])
def test_records_do_not_stay_for_days_after_their_time(retention_hours: int, segment_hours: int) -> None:
    """The broker deletes whole files, and fills one for a week unless it is told otherwise."""
    environ = {
        f"IMGDIFF_TOPICS__{name}": str(retention_hours) for name in ("RETENTION_HOURS", "DEAD_LETTER_RETENTION_HOURS")
    }
    kept = [t.configs for t in wanted_topics(load_layers(environ).common()) if "retention.ms" in t.configs]
    assert {configs["retention.ms"] for configs in kept} == {str(retention_hours * HOUR_MS)}
    assert {configs["segment.ms"] for configs in kept} == {str(segment_hours * HOUR_MS)}
