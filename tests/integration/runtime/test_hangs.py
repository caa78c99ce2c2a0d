"""What hangs ends the process, and counts as a crash of what was in the stage."""

import pytest

from schemas.topics import EDITS
from tests.integration.kit import Stream

PROBE = "tests.integration.probe"


@pytest.mark.long
def test_a_record_that_hangs_is_put_aside_like_one_that_kills(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 9 + ["hang"] + ["a cat"] * 30)
    limit = {"IMGDIFF_RUNTIME__STAGE_TIMEOUT_S": "3"}
    for _ in range(3):
        worker = stream.start(PROBE, **limit)
        assert worker.wait(90) == 1
        assert len(worker.lines("CRITICAL")) == 1
        assert "probe.py" in worker.log.partition("all threads:")[2]
        assert worker.lines("ERROR")[-1].startswith("stage: thread stage has not moved for")
    survivor = stream.start(PROBE, **limit)
    stream.settle("edits", "captions")
    assert stream.recount(EDITS).counters.failed == {"crash": 1}
    assert survivor.stop() == 0
