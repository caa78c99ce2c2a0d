"""Long batches and newcomers: nobody waits longer than it must, nothing is done twice that need not be."""

from collections import Counter

import pytest

from schemas.topics import EDITS
from tests.integration.kit import Stream, journal, wait_until

PROBE = "tests.integration.probe"
BATCH_S = 8.0
LONG_BATCH_S = 60.0
"""So long that nobody who waits for it can be taken for somebody who is only slow."""


@pytest.mark.long
def test_without_a_drain_budget_a_newcomer_works_at_once(stream: Stream) -> None:
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 64)
    busy = {
        "PROBE_DELAY_S": str(LONG_BATCH_S),
        "PROBE_JOURNAL": str(notes),
        "IMGDIFF_EDITS__BATCH_SIZE": "16",
        "IMGDIFF_RUNTIME__DRAIN_BUDGET_S": "0",
    }
    first = stream.start(PROBE, **busy)
    wait_until("the first batch began", lambda: len(journal(notes)) >= 1)

    newcomer = stream.start(PROBE, **busy)
    # Less than the default drain budget, which is half of that batch.
    wait_until("the newcomer works", lambda: newcomer.process.pid in {n["pid"] for n in journal(notes)}, 20)

    assert first.process.poll() is None
    assert [n for n in journal(notes) if n["pid"] == first.process.pid and n["what"] == "end"] == []
    first.kill()
    newcomer.kill()


@pytest.mark.long
def test_with_the_default_budget_the_batch_commits_first_and_nothing_is_done_twice(stream: Stream) -> None:
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 64)
    busy = {"PROBE_DELAY_S": str(BATCH_S), "PROBE_JOURNAL": str(notes), "IMGDIFF_EDITS__BATCH_SIZE": "16"}
    first = stream.start(PROBE, **busy)
    wait_until("the first batch began", lambda: len(journal(notes)) >= 1)

    newcomer = stream.start(PROBE, **busy)
    wait_until("the newcomer works", lambda: newcomer.process.pid in {n["pid"] for n in journal(notes)}, 40, 0.02)
    stream.settle("edits", "captions", 90)

    begun = Counter(identity for note in journal(notes) if note["what"] == "begin" for identity in note["ids"])
    assert max(begun.values()) == 1
    assert len(begun) == 64
    assert stream.recount(EDITS).counters == stream.counters("edits")
    assert first.stop() == 0
    assert newcomer.stop() == 0
