"""Two processes under one name: one of them ends, and does not come back by itself."""

import pytest

from schemas.topics import EDITS
from tests.integration.kit import Stream, wait_until

PROBE = "tests.integration.probe"


@pytest.mark.long
def test_a_twin_ends_with_75_and_does_not_loop(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 200)
    name = {"IMGDIFF_INSTANCE": "twin", "PROBE_DELAY_S": "1"}
    first = stream.start(PROBE, **name)
    wait_until("the first works", lambda: stream.counters("edits").consumed > 0)

    second = stream.start(PROBE, **name)
    assert first.wait(30) == 75
    assert "another process" in first.log
    stream.settle("edits", "captions")

    assert second.process.poll() is None
    assert stream.recount(EDITS).counters == stream.counters("edits")
    assert stream.counters("edits").consumed == 200
    assert second.stop() == 0


@pytest.mark.long
def test_a_twin_with_nothing_to_do_ends_too(stream: Stream) -> None:
    first = stream.start(PROBE, IMGDIFF_INSTANCE="twin")
    wait_until("the first is in", lambda: "assigned" in first.log)
    second = stream.start(PROBE, IMGDIFF_INSTANCE="twin")
    assert first.wait(60) == 75
    assert second.stop() == 0
