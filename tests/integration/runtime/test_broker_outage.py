"""A broker that is away for a minute, under load: nobody ends before its patience does, nobody spins, all go on."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.kafka import Admin
from common.runtime.errors import BrokerUnreachableError
from ops.broker.local import LocalBroker
from schemas.topics import EDITS
from tests.integration.kit import Stream, WorkerProcess, wait_until

PROBE = "tests.integration.probe"
SINK = "workers.dataset"
RECORDS = 2_000
AWAY_S = 60.0
CPU_SHARE = 0.05

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def own(own: Stream) -> Stream:
    """With something to do."""
    own.produce_captions(["a dog"] * RECORDS)
    return own


def answers(stream: Stream) -> bool:
    try:
        with Admin(stream.settings.kafka):
            return True
    except BrokerUnreachableError:
        return False


def cpu_s(worker: WorkerProcess) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stopped(local: LocalBroker) -> Callable[[], None]:
    local.stop()
    return lambda: (local.start(port=0), None)[1]


def frozen(local: LocalBroker) -> Callable[[], None]:
    pid = local.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("go_away", [stopped, frozen])
def test_a_broker_that_is_away_for_a_minute_costs_nothing_but_the_minute(
    own: Stream, local: LocalBroker, go_away: Callable[[LocalBroker], Callable[[], None]]
) -> None:
    workers = [own.start(PROBE, PROBE_DELAY_S="0.3") for _ in range(2)]
    sink = own.start(SINK)
    everyone = [*workers, sink]
    wait_until("work is under way", lambda: all("assigned" in worker.log for worker in everyone), 120)
    wait_until("work is done", lambda: own.counters("edits").consumed > 100, 60)

    come_back = go_away(local)
    time.sleep(10)  # what was in flight ends, and whoever notices only now has noticed
    before = [cpu_s(worker) for worker in everyone]
    time.sleep(AWAY_S)
    shares = [(cpu_s(worker) - used) / AWAY_S for worker, used in zip(everyone, before, strict=True)]
    print("CPU while the broker was away:", [f"{share:.1%}" for share in shares])
    assert [worker.process.poll() for worker in everyone] == [None] * 3
    assert max(shares) < CPU_SHARE
    for worker in everyone:
        assert worker.http("/livez")[0] == 200
        # Nobody can tell a broker that is frozen from one with nothing to say, unless there is something to commit.
        assert worker.http("/readyz")[0] == 503 or (worker is sink and go_away is frozen)

    come_back()
    returned = time.monotonic()
    for worker in everyone:
        wait_until("it is ready again", lambda: worker.http("/readyz")[0] == 200, 60)
        print(f"ready {time.monotonic() - returned:.1f} s after the broker's return")
    own.settle("edits", "captions", 240)
    assert own.recount(EDITS).counters == own.counters("edits")
    assert own.counters("edits").consumed == RECORDS
    assert [worker.stop() for worker in everyone] == [0, 0, 0]


def test_a_broker_that_is_away_for_longer_is_given_up_in_one_line(own: Stream, local: LocalBroker) -> None:
    patience = {"IMGDIFF_RUNTIME__BROKER_PATIENCE_S": "20"}
    workers = [own.start(PROBE, PROBE_DELAY_S="0.3", **patience), own.start(SINK, **patience)]
    wait_until("work is under way", lambda: all("assigned" in worker.log for worker in workers), 120)
    local.stop()
    for worker in workers:
        assert worker.wait(120) == 1
        assert "Traceback" not in worker.log
        assert len(worker.lines("ERROR")) == 1


@pytest.mark.parametrize("go_away", [stopped, frozen])
def test_workers_can_be_stopped_while_the_broker_is_away(
    own: Stream, local: LocalBroker, go_away: Callable[[LocalBroker], Callable[[], None]]
) -> None:
    workers = [own.start(PROBE, PROBE_DELAY_S="0.3", IMGDIFF_RUNTIME__DRAIN_BUDGET_S="5"), own.start(SINK)]
    wait_until("work is under way", lambda: all("assigned" in worker.log for worker in workers), 120)
    wait_until("work is done", lambda: own.counters("edits").consumed > 100, 60)
    come_back = go_away(local)
    time.sleep(2)

    asked = time.monotonic()
    for worker in workers:
        worker.send(signal.SIGTERM)
    ends = [worker.wait(120) for worker in workers]
    print(f"all ended {time.monotonic() - asked:.1f} s after they were told to")
    come_back()
    wait_until("the broker answers", lambda: answers(own), 120)
    assert ends == [0, 0]
    assert not any("Traceback" in worker.log for worker in workers)

    successor = own.start(PROBE)
    own.settle("edits", "captions", 240)
    assert own.recount(EDITS).counters == own.counters("edits")
    assert own.counters("edits").consumed == RECORDS
    assert successor.stop() == 0
