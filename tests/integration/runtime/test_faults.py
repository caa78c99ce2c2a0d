"""Whoever stops, dies, freezes or joins in mid-run: the same records, the same counters, nothing twice."""

import signal
import time

import pytest

from schemas.topics import EDITS
from tests.integration.kit import Stream, wait_until

PROBE = "tests.integration.probe"
TEXTS = ["reject", "a dog", "many 3", "fail"] + ["a cat"] * 4
EXPECTED = {
    "consumed": 160,
    "passed": 120,
    "outputs": 160,
    "rejected": {"asked_for": 20},
    "failed": {"exception": 20},
}


def check_undisturbed(stream: Stream) -> None:
    """What an undisturbed run of `TEXTS * 20` gives."""
    recount = stream.recount(EDITS)
    assert recount.counters == stream.counters("edits")
    assert recount.counters.model_dump() == EXPECTED
    assert len(recount.ids) == 160


def test_sigterm_in_mid_run_finishes_what_has_begun_and_nothing_is_done_twice(stream: Stream) -> None:
    journal = stream.folder / "journal"
    stream.produce_captions(TEXTS * 20)
    first = stream.start(PROBE, PROBE_DELAY_S="0.3", PROBE_JOURNAL=str(journal))
    wait_until("work has begun", journal.exists)
    time.sleep(0.5)
    assert first.stop() == 0
    done = stream.counters("edits").consumed
    assert 0 < done < 160

    second = stream.start(PROBE)
    stream.settle("edits", "captions")

    check_undisturbed(stream)
    second.stop()


@pytest.mark.long
def test_workers_join_and_leave_in_mid_run(stream: Stream) -> None:
    stream.produce_captions(TEXTS * 20)
    first = stream.start(PROBE, PROBE_DELAY_S="0.1")
    wait_until("the first works", lambda: stream.counters("edits").consumed > 0)
    second = stream.start(PROBE, PROBE_DELAY_S="0.1")
    third = stream.start(PROBE, PROBE_DELAY_S="0.1")
    wait_until("the third was assigned something", lambda: "assigned " in third.log, 30)
    first.kill()
    fourth = stream.start(PROBE)
    stream.settle("edits", "captions")

    check_undisturbed(stream)
    # Before it has begun it knows no signals yet.
    wait_until("the fourth has begun", lambda: "http port" in fourth.log)
    for worker in (second, third, fourth):
        assert worker.stop() == 0


def test_a_restarted_worker_does_not_wait_for_its_predecessors_session(stream: Stream) -> None:
    journal = stream.folder / "journal"
    stream.produce_captions(TEXTS * 20)
    session = {"IMGDIFF_RUNTIME__SESSION_TIMEOUT_S": "60"}
    first = stream.start(PROBE, PROBE_DELAY_S="0.3", PROBE_JOURNAL=str(journal), **session)
    wait_until("work has begun", journal.exists)
    first.kill()
    journal.unlink()

    second = stream.start(PROBE, PROBE_JOURNAL=str(journal), **session)
    # A dynamic member would wait for its predecessor's session to run out.
    wait_until("the first record", journal.exists, 30)
    assert second.stop() == 0


@pytest.mark.long
def test_a_frozen_worker_that_wakes_up_commits_nothing_of_what_went_elsewhere(stream: Stream) -> None:
    stream.produce_captions(TEXTS * 20)
    frozen = stream.start(PROBE, PROBE_DELAY_S="0.5", IMGDIFF_EDITS__BATCH_SIZE="8")
    wait_until("the first works", lambda: stream.counters("edits").consumed > 0)
    frozen.send(signal.SIGSTOP)
    second = stream.start(PROBE)
    stream.settle("edits", "captions")
    check_undisturbed(stream)

    frozen.send(signal.SIGCONT)
    time.sleep(3)

    check_undisturbed(stream)
    second.stop()
