"""A record that kills its worker is found and put aside; nobody else pays for it with more than time."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from schemas.counters import Counters
from schemas.topics import EDITS
from tests.integration.kit import Stream, WorkerProcess, journal, wait_until

PROBE = "tests.integration.probe"


def marks(stream: Stream) -> list[Path]:
    return sorted((stream.folder / "blobs" / "crash-marks" / f"{stream.prefix}.edits").iterdir())


def run_until_settled(stream: Stream, deaths: int, **environ: str) -> WorkerProcess:
    """Start a worker again after each of `deaths` deaths; the one that lives."""
    for _ in range(deaths):
        assert stream.start(PROBE, **environ).wait(60) == -signal.SIGKILL
    survivor = stream.start(PROBE, **environ)
    stream.settle("edits", "captions")
    return survivor


def test_a_record_that_kills_twice_while_alone_is_a_dead_letter_and_its_neighbours_pass(stream: Stream) -> None:
    notes = stream.folder / "journal"
    texts = ["a dog"] * 21 + ["die"] + ["a cat"] * 58
    stream.produce_captions(texts)

    survivor = run_until_settled(stream, 3, PROBE_JOURNAL=str(notes))

    recount = stream.recount(EDITS)
    assert (
        recount.counters
        == stream.counters("edits")
        == Counters(consumed=80, passed=79, outputs=79, failed={"crash": 1})
    )
    tried = [note for note in journal(notes) if "test:#21" in note["ids"] and note["what"] == "begin"]
    assert [len(note["ids"]) > 1 for note in tried] == [True, False, False]
    assert survivor.stop() == 0
    assert marks(stream) == []


@pytest.mark.long
def test_a_record_that_kills_before_it_reaches_the_stage_is_found_too(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 9 + ["die in loading"] + ["a cat"] * 30)
    survivor = run_until_settled(stream, 3)
    assert stream.recount(EDITS).counters == Counters(consumed=40, passed=39, outputs=39, failed={"crash": 1})
    assert survivor.stop() == 0
    assert marks(stream) == []


@pytest.mark.long
def test_two_kills_of_a_batch_cost_no_record(stream: Stream) -> None:
    """Only what was alone both times is put aside: an operator, or the kernel out of memory, may kill a batch any time."""
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 40)
    for deaths in (1, 2):
        worker = stream.start(PROBE, PROBE_DELAY_S="60", PROBE_JOURNAL=str(notes))
        wait_until("it is at work", lambda: len(journal(notes)) == deaths)
        worker.kill()

    survivor = stream.start(PROBE)
    stream.settle("edits", "captions")

    assert stream.recount(EDITS).counters.passed == 40
    assert survivor.stop() == 0


@pytest.mark.long
def test_an_orderly_exit_is_held_against_nobody(stream: Stream) -> None:
    """Told to stop in the middle of a lone record, twice, with no time to finish it."""
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"])
    for stops in (1, 2, 3):
        worker = stream.start(PROBE, PROBE_DELAY_S="60", PROBE_JOURNAL=str(notes), IMGDIFF_RUNTIME__DRAIN_BUDGET_S="0")
        wait_until("it is at work", lambda: len(journal(notes)) == stops)
        assert len(marks(stream)) == 1
        assert worker.stop() == 0
        assert marks(stream) == []

    survivor = stream.start(PROBE)
    stream.settle("edits", "captions")
    assert stream.recount(EDITS).counters.passed == 1
    assert survivor.stop() == 0


@pytest.mark.long
def test_a_revoke_in_the_middle_of_a_lone_record_is_held_against_nobody(stream: Stream) -> None:
    notes = stream.folder / "journal"
    for position in range(stream.partitions):
        stream.produce_captions(["a dog"], start=position)
    slow = {"PROBE_DELAY_S": "60", "PROBE_JOURNAL": str(notes), "IMGDIFF_EDITS__BATCH_SIZE": "1"}
    first = stream.start(PROBE, IMGDIFF_RUNTIME__DRAIN_BUDGET_S="2", **slow)
    wait_until("it is at work", lambda: len(journal(notes)) == 1)
    others = [stream.start(PROBE, PROBE_DELAY_S="60") for _ in range(stream.partitions)]
    wait_until("it gave up what it worked on", lambda: "revoked" in first.log, 40)
    wait_until("others are at work", lambda: sum("assigned" in other.log for other in others) >= stream.partitions - 1)
    assert not any("died over" in worker.log for worker in others)
    for worker in [first, *others]:
        worker.kill()


@pytest.mark.long
def test_what_a_frozen_worker_marks_when_it_wakes_up_counts_for_nothing(stream: Stream) -> None:
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 80)
    frozen = stream.start(PROBE, PROBE_DELAY_S="1", PROBE_JOURNAL=str(notes), IMGDIFF_EDITS__BATCH_SIZE="8")
    wait_until("it is at work", lambda: len(journal(notes)) > 1)
    frozen.send(signal.SIGSTOP)
    second = stream.start(PROBE)
    stream.settle("edits", "captions")
    frozen.send(signal.SIGCONT)
    wait_until("it knows", lambda: "lost" in frozen.log or "died" in frozen.log or frozen.process.poll() is not None)
    second.kill()
    frozen.kill()

    third = stream.start(PROBE)
    stream.produce_captions(["a cat"] * 20, start=80)
    stream.settle("edits", "captions")
    assert "died over" not in third.log
    counts = Counter(stream.recount(EDITS).outputs.keys())
    assert max(counts.values()) == 1
    assert third.stop() == 0
