"""Records on their way to the stage: marked before they are loaded, and what becomes of those that can not be."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.kafka import ConsumedRecord, Partition
from common.runtime.crash_marks import FOLDER, CrashMarks
from common.runtime.flight import Failed, Fetched, Loaded
from common.runtime.intake import Intake
from common.runtime.ownership import Assignment, Progress
from common.runtime.shared import Shared
from common.runtime.stage import Task
from common.settings import BlobSettings, RuntimeSettings
from schemas.counters import OffsetMetadata
from schemas.dead_letters import DeadLetterKind, PoisonReason
from tests.common.parts import shared_parts
from tests.schemas.samples import PAIR

GROUP = "imgdiff.boxes"
PAIRS = Partition("pairs", 0)
BATCH = 8


class Process:
    """What of a worker has just been given a partition of which 3 records are committed."""

    def __init__(self, folder: Path, load: Callable[[Fetched], None]) -> None:
        self.load: Callable[[Fetched], None] = load
        self.marks = CrashMarks(BlobSettings(url=str(folder)), GROUP)
        self.marks.prepare()
        self.marks.adopt(PAIRS, 3, lambda: 1_000)
        self.marks.suspected({PAIRS: 3})
        self._assignment = Assignment(5)
        self._assignment.assigned([PAIRS])
        self._epoch = self._assignment.start_epoch(PAIRS) or 0
        self._assignment.started(PAIRS, self._epoch, Progress(3, OffsetMetadata()))
        self.intake = Intake(self._loader(), self._shared(), BATCH)

    def fetch(self, *offsets: int) -> None:
        """Put them into the intake, as the poll thread does."""
        assert self._assignment.fetched(PAIRS, len(offsets)) == self._epoch
        self.intake.put([Fetched(ConsumedRecord(PAIRS, o, None, b"", (), 0.0), self._epoch) for o in offsets])

    def take(self, count: int) -> list[Loaded]:
        return self.intake.take(count, 30)

    def _loader(self) -> Any:
        process = self

        class Loader:
            def load(self, fetched: Fetched, wanted: Callable[[], bool]) -> Loaded:
                process.load(fetched)
                return Loaded(fetched, Task(PAIR))

        return Loader()

    def _shared(self) -> Shared:
        return shared_parts(RuntimeSettings(retry_first_s=0.01), self._assignment, marks=self.marks)


Start = Callable[[Callable[[Fetched], None]], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def started(load: Callable[[Fetched], None]) -> Process:
        processes.append(Process(tmp_path, load))
        return processes[-1]

    yield started
    for process in processes:
        process.intake.close()


def nothing(_: Fetched) -> None:
    return


def no_memory(_: Fetched) -> None:
    raise MemoryError


def marked(folder: Path) -> list[str]:
    return [mark.read_text() for mark in (folder / FOLDER / GROUP).iterdir()]


def test_a_record_is_marked_before_it_is_loaded(start: Start, tmp_path: Path) -> None:
    found: list[list[str]] = []
    process = start(lambda _: found.append(marked(tmp_path)))
    process.fetch(3)
    assert len(process.take(1)) == 1
    assert found == [['{"at_work":{"first":3,"last":3},"alone":true}']]


def test_records_that_were_fetched_together_share_a_mark(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(nothing)
    written: list[bytes] = []
    monkeypatch.setattr(process.marks._storage, "write_lightly", lambda path, data: written.append(data))
    process.fetch(*range(3, 3 + 2 * BATCH))
    for _ in range(2):
        batch = process.take(BATCH)
        process.marks.enter([loaded.fetched for loaded in batch])
    assert written == [b'{"at_work":{"first":3,"last":18}}']


def test_a_record_that_kills_in_loading_is_found(start: Start) -> None:
    """Who dies leaves the mark behind, so whoever loads from here on stands for a process that has died there."""
    died: list[int] = []

    def die(fetched: Fetched) -> None:
        if fetched.record.offset == 4:
            died.append(fetched.record.offset)
            raise KeyboardInterrupt

    first = start(die)
    first.fetch(3, 4)
    with pytest.raises(KeyboardInterrupt):
        first.take(2)
    for _ in range(2):
        process = start(die)
        assert process.marks.isolating
        process.fetch(4)
        with pytest.raises(KeyboardInterrupt):
            process.take(1)
    process = start(die)
    process.fetch(4)
    [loaded] = process.take(1)
    assert isinstance(loaded.content, Failed)
    assert loaded.content.reason == PoisonReason.CRASH
    assert died == [4] * 3


def test_a_record_without_memory_ends_the_process_until_it_has_it_to_itself(start: Start) -> None:
    first = start(no_memory)
    first.fetch(3)
    with pytest.raises(MemoryError):
        first.take(1)
    second = start(no_memory)
    second.fetch(3)
    [loaded] = second.take(1)
    assert isinstance(loaded.content, Failed)
    assert (loaded.content.kind, loaded.content.reason) == (DeadLetterKind.POISON, PoisonReason.OUT_OF_MEMORY)
