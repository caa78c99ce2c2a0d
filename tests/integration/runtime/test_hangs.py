"""What hangs ends the process, and counts as a crash of what was at work."""

import pytest

from schemas.topics import EDITS
from tests.integration.kit import Stream

PROBE = "tests.integration.probe"


@pytest.mark.long
@pytest.mark.parametrize(("caption", "thread"), [("hang", "stage"), ("hang in loading", "prefetch")])
def test_a_record_that_hangs_is_put_aside_like_one_that_kills(stream: Stream, caption: str, thread: str) -> None:
    stream.produce_captions(["a dog"] * 9 + [caption] + ["a cat"] * 30)
    limit = {
        "IMGDIFF_RUNTIME__STAGE_TIMEOUT_S": "3",
        "IMGDIFF_RUNTIME__DRAIN_BUDGET_S": "1",
        "PROBE_LOADING_LIMIT_S": "2",
    }
    for _ in range(3):
        worker = stream.start(PROBE, **limit)
        assert worker.wait(90) == 1
        assert len(worker.lines("CRITICAL")) == 1
        assert "probe.py" in worker.log.partition("all threads:")[2]
        assert worker.lines("ERROR")[-1].startswith(f"{thread}: thread {thread} has not moved for")
    survivor = stream.start(PROBE, **limit)
    stream.settle("edits", "captions")
    assert stream.recount(EDITS).counters.failed == {"crash": 1}
    assert survivor.stop() == 0
