"""What a stage's topics are held to before a broker is asked."""

import logging

import pytest

from common.runtime.cluster import Cluster
from common.settings import load_layers
from schemas.topics import EDITS, Names

KAFKAS_DEFAULT_MINUTES = "10080"


def warned(minutes: str, caplog: pytest.LogCaptureFixture, **environ: str) -> bool:
    cluster = Cluster(load_layers(environ).common(), Names("imgdiff"), EDITS)
    with caplog.at_level(logging.WARNING, "common.runtime.cluster"):
        cluster._compare_retention(minutes)
    return "offsets.retention.minutes" in caplog.text


def test_offsets_that_are_kept_no_longer_than_records_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Both are a week by default, and a record stays for longer: a file of the log is deleted as a whole."""
    assert warned(KAFKAS_DEFAULT_MINUTES, caplog)


def test_offsets_that_outlive_the_last_file_of_the_log_are_fine(caplog: pytest.LogCaptureFixture) -> None:
    assert not warned(KAFKAS_DEFAULT_MINUTES, caplog, IMGDIFF_TOPICS__RETENTION_HOURS="140")
    assert not warned("525600", caplog)
