"""When a run counts as finished, and when as stuck."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ops.demo import run
from ops.demo.interrupt import Interrupt
from ops.demo.run import SETTLE_S, STALL_S, DemoError, Patience, _check_alive, _given_up, _watch, has_settled
from ops.ingest.ingest import IngestResult, SourceResult
from ops.status import DatasetStatus, StreamStatus, WorkerStatus
from ops.supervisor import ProgramStatus, Supervisor
from schemas.counters import Counters

EMPTY = StreamStatus(0, (WorkerStatus("dataset", Counters(), 0, 0),), DatasetStatus(0, "d"))
WAITING = StreamStatus(2, (WorkerStatus("dataset", Counters(), 2, 1),), DatasetStatus(0, "d"))
WHOLE = StreamStatus(
    2, (WorkerStatus("dataset", Counters(consumed=2, passed=2, outputs=2), 0, 1),), DatasetStatus(2, "d")
)


class Silent:
    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: StreamStatus) -> None:
        pass


def test_a_status_from_before_the_last_caption_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty stream adds up as well: nothing ingested, nothing consumed."""
    reading, fed = threading.Event(), threading.Event()
    statuses = iter([EMPTY, WAITING, WHOLE])

    def ingest(*_: Any, **__: Any) -> IngestResult:
        assert reading.wait(10)
        fed.set()
        return IngestResult([])

    def read() -> StreamStatus:
        status = next(statuses)
        reading.set()
        assert fed.wait(10)  # the last caption is written while the status is on its way
        return status

    @contextmanager
    def opened(_: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(read=read)

    monkeypatch.setattr(run, "LOOK_S", 0.05)
    monkeypatch.setattr(run, "_ingest", ingest)
    monkeypatch.setattr(run, "open_status", opened)
    monkeypatch.setattr(run, "display", Silent)
    layers: Any = None
    status, _ = _watch(layers, Supervisor(lambda *_: None), Interrupt(), Path("captions"), None)
    assert status == WHOLE


def test_patience_begins_anew_with_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ops.demo.run.time.monotonic", lambda: now)
    patience = Patience()
    assert not patience.exhausted(WAITING, fed=True)
    now = STALL_S - 1
    assert not patience.exhausted(WAITING, fed=True)
    assert not patience.exhausted(WHOLE, fed=False)
    now += STALL_S - 1
    assert not patience.exhausted(WHOLE, fed=False)
    now += 2
    assert patience.exhausted(WHOLE, fed=False)


def test_a_stream_at_rest_that_does_not_add_up_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ops.demo.run.time.monotonic", lambda: now)
    patience = Patience()
    assert not patience.exhausted(EMPTY, fed=True)
    now = SETTLE_S + 1
    assert patience.exhausted(EMPTY, fed=True)


def test_what_is_stuck_is_named() -> None:
    from concurrent.futures import Future

    with pytest.raises(DemoError, match="nothing has moved for 120 s: dataset has 2 to go"):
        _given_up(Future(), WAITING)


def test_a_worker_that_dies_again_and_again_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor(lambda *_: None)
    states = [ProgramStatus("boxes.1", None, starts=5, deaths_in_a_row=4, last_lines=("boom",))]
    monkeypatch.setattr(supervisor, "status", lambda: states)
    _check_alive(supervisor)
    states[0] = ProgramStatus("boxes.1", None, starts=6, deaths_in_a_row=5, last_lines=("boom",))
    with pytest.raises(DemoError, match=r"boxes\.1 died 5 times in a row: boom"):
        _check_alive(supervisor)


def test_a_stream_that_does_not_show_yet_what_was_fed_has_not_settled() -> None:
    """The commit of an ingest returns before its captions can be read: until then nothing waits, and nothing is missing."""
    fed = IngestResult([SourceResult("digest", "captions.txt", 0, 2, 0, 2, complete=True)])
    assert not has_settled(EMPTY, fed)
    assert not has_settled(WAITING, fed)
    assert has_settled(WHOLE, fed)
    assert has_settled(EMPTY, IngestResult([]))
