"""What a process that died leaves behind, and what its successors make of it."""

import shutil
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import fsspec
import pytest

from common.kafka import ConsumedRecord, Partition
from common.runtime.crash_marks import CrashMarks
from common.runtime.errors import TransientError
from common.runtime.flight import Failed, Fetched
from common.settings import BlobSettings
from common.storage import Storage
from schemas.dead_letters import DeadLetterKind, PoisonReason

GROUP = "imgdiff.edits"
FIRST, SECOND = Partition("captions", 0), Partition("captions", 1)
LOG_END = 1_000
_numbers = count()


@pytest.fixture(params=["folder", "object store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "blobs")
        return
    root = f"/crash-marks-{next(_numbers)}"
    yield f"memory:/{root}"
    memory = fsspec.filesystem("memory")
    if memory.exists(root):
        memory.rm(root, recursive=True)


def process(url: str) -> CrashMarks:
    """The marks of a process that has just started."""
    marks = CrashMarks(BlobSettings(url=url), GROUP)
    marks.prepare()
    return marks


def owner(url: str, committed: int = 0, partition: Partition = FIRST) -> CrashMarks:
    """A process that has just been given the partition."""
    marks = process(url)
    marks.adopt(partition, committed, lambda: LOG_END)
    return marks


def record(offset: int, partition: Partition = FIRST) -> Fetched:
    return Fetched(ConsumedRecord(partition, offset, None, b"", (), 0.0), 1)


def batch(*offsets: int) -> list[Fetched]:
    return [record(offset) for offset in offsets]


def suspected(marks: CrashMarks, committed: int) -> bool:
    return bool(marks.suspected({FIRST: committed}))


def test_what_was_in_the_stage_when_a_process_died_is_suspected_until_it_is_committed(url: str) -> None:
    owner(url).enter(batch(5, 6, 8))
    marks = owner(url, committed=5)
    assert suspected(marks, 5)
    assert marks.isolating
    assert suspected(marks, 8)
    assert not suspected(marks, 9)
    assert not marks.isolating


def test_what_was_committed_before_the_process_died_is_not_suspected(url: str) -> None:
    owner(url).enter(batch(5, 6))
    assert not suspected(owner(url, committed=7), 7)


def test_only_what_was_alone_twice_is_condemned(url: str) -> None:
    owner(url).enter(batch(5, 6))
    owner(url).enter(batch(5))
    after_one = owner(url)
    assert after_one.condemned(record(5)) is None
    after_one.enter(batch(5))
    failed = owner(url).condemned(record(5))
    assert failed == Failed(
        DeadLetterKind.POISON, PoisonReason.CRASH, "its process died 2 times while this record was the only one in it"
    )
    assert owner(url).condemned(record(6)) is None


def test_crashes_of_whole_batches_condemn_nobody(url: str) -> None:
    for _ in range(5):
        marks = owner(url)
        assert [marks.condemned(record(offset)) for offset in (5, 6)] == [None, None]
        marks.enter(batch(5, 6))


def test_one_of_each_partition_is_not_alone(url: str) -> None:
    for _ in range(3):
        marks = process(url)
        for partition in (FIRST, SECOND):
            marks.adopt(partition, 0, lambda: LOG_END)
        marks.enter([record(5, FIRST), record(7, SECOND)])
    marks = owner(url)
    assert marks.condemned(record(5)) is None
    assert suspected(marks, 0)


def test_what_is_loaded_beside_the_stage_is_not_alone(url: str) -> None:
    for _ in range(3):
        marks = process(url)
        for partition in (FIRST, SECOND):
            marks.adopt(partition, 0, lambda: LOG_END)
        marks.enter([record(5, FIRST)])
        marks.begin([record(7, SECOND)])
    after = process(url)
    for partition in (FIRST, SECOND):
        after.adopt(partition, 0, lambda: LOG_END)
    assert after.suspected({FIRST: 5, SECOND: 7}) == {FIRST, SECOND}
    assert [after.condemned(each) for each in (record(5, FIRST), record(7, SECOND))] == [None, None]


def test_a_record_is_alone_again_when_what_was_before_it_is_committed(url: str) -> None:
    owner(url).enter(batch(5, 6))
    for _ in range(2):
        marks = owner(url, committed=5)
        marks.enter(batch(5))
        marks.suspected({FIRST: 6})
        marks.begin(batch(6))
    after = owner(url, committed=6)
    assert after.condemned(record(6)) is not None
    assert after.condemned(record(5)) is None


def test_what_is_loaded_when_a_process_dies_is_suspected_with_what_waits_behind_it(url: str) -> None:
    marks = owner(url)
    marks.fetched(batch(5, 6, 7, 8))
    marks.begin(batch(5, 6))
    marks.loaded()
    after = owner(url, committed=7)
    assert suspected(after, 8)
    assert not suspected(after, 9)


def test_what_a_record_did_is_kept_while_others_are_tried(url: str) -> None:
    owner(url).enter(batch(5, 6))
    owner(url).enter(batch(5))
    owner(url).enter(batch(6))
    owner(url).enter(batch(5))
    assert owner(url).condemned(record(5)) is not None


def test_a_process_that_dies_before_it_has_begun_forgets_nothing(url: str) -> None:
    owner(url).enter(batch(5, 6))
    owner(url).enter(batch(5))
    owner(url)
    owner(url).enter(batch(5))
    assert owner(url).condemned(record(5)) is not None


def test_an_orderly_exit_is_held_against_nobody(url: str) -> None:
    for _ in range(3):
        marks = owner(url)
        marks.enter(batch(5))
        marks.clear({}, 10)
    assert not suspected(owner(url), 0)


def test_who_is_told_to_end_and_then_killed_holds_it_against_nobody(url: str) -> None:
    """Such as by people who do not want to wait for a slow model: not one of these ends is the record's doing."""
    for _ in range(4):
        impatient = owner(url)
        impatient.enter(batch(5))
        impatient.draining()
        impatient._background.submit(lambda: None).result(10)
        impatient.enter(batch(5))
    marks = owner(url)
    assert suspected(marks, 5)
    assert marks.condemned(record(5)) is None


def test_an_orderly_exit_leaves_what_is_known_of_others_crashes(url: str) -> None:
    owner(url).enter(batch(5))
    for _ in range(3):
        leaving = owner(url)
        leaving.enter(batch(5))
        leaving.clear({FIRST: 5}, 10)
    marks = owner(url)
    assert suspected(marks, 5)
    assert marks.condemned(record(5)) is None
    marks.enter(batch(5))
    assert owner(url).condemned(record(5)) is not None


def test_an_orderly_exit_leaves_nothing_once_the_suspects_are_committed(tmp_path: Path) -> None:
    owner(str(tmp_path)).enter(batch(5))
    owner(str(tmp_path)).clear({FIRST: 6}, 10)
    assert list((tmp_path / "crash-marks" / GROUP).iterdir()) == []


def test_an_orderly_revoke_is_held_against_nobody_and_hands_over_what_is_known(url: str) -> None:
    owner(url).enter(batch(5))
    leaving = owner(url)
    leaving.enter(batch(5))
    leaving.keep([])
    leaving.clear({}, 10)  # waits for what goes on in the background
    marks = owner(url)
    assert suspected(marks, 0)
    assert marks.condemned(record(5)) is None
    marks.enter(batch(5))
    assert owner(url).condemned(record(5)) is not None


def test_a_partition_that_comes_back_to_the_same_process_has_killed_nobody(url: str) -> None:
    marks = owner(url)
    marks.enter(batch(5))
    marks.adopt(FIRST, 0, lambda: LOG_END)
    assert not suspected(marks, 0)


def test_what_a_frozen_process_writes_when_it_wakes_up_is_ignored(url: str) -> None:
    frozen = owner(url)
    frozen.enter(batch(5))
    second = owner(url)
    second.enter(batch(20, 21))
    frozen.enter(batch(7))
    third = owner(url)
    assert third.suspected({FIRST: 20}) == {FIRST}
    third.enter(batch(20))
    frozen.keep([])
    assert owner(url, committed=22).condemned(record(7)) is None


def test_a_log_that_was_made_anew_is_not_waited_for(url: str) -> None:
    owner(url).enter(batch(5_000))
    assert not suspected(owner(url, committed=0), 0)


def test_a_mark_that_a_power_failure_left_empty_counts_as_none(tmp_path: Path) -> None:
    url = str(tmp_path)
    owner(url).enter(batch(5))
    [mark] = (tmp_path / "crash-marks" / GROUP).iterdir()
    mark.write_bytes(b"")
    marks = owner(url)
    assert not suspected(marks, 0)
    marks.enter(batch(5))
    assert suspected(owner(url), 0)


def test_a_store_that_is_away_is_waited_for(tmp_path: Path) -> None:
    url = str(tmp_path / "blobs")
    marks = owner(url)
    shutil.rmtree(url)
    with pytest.raises(TransientError, match="crash marks"):
        marks.enter(batch(5))


def test_marks_are_taken_back_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object store each is a request: one after the other, those of a worker would outlast its exit."""
    marks = process(str(tmp_path))
    partitions = [Partition("captions", index) for index in range(16)]
    for partition in partitions:
        marks.adopt(partition, 0, lambda: LOG_END)
    marks.enter([record(5, partition) for partition in partitions])
    beside_another, delete = threading.Barrier(2, timeout=10), Storage.delete

    def deleted(self: Storage, path: str) -> None:
        beside_another.wait()
        delete(self, path)

    monkeypatch.setattr(Storage, "delete", deleted)
    marks.clear({}, 30)
    assert list((tmp_path / "crash-marks" / GROUP).iterdir()) == []


def test_marks_do_not_pile_up(tmp_path: Path) -> None:
    for offset in range(5):
        owner(str(tmp_path), committed=offset).enter(batch(offset, offset + 1))
    assert len(list((tmp_path / "crash-marks" / GROUP).iterdir())) == 1
