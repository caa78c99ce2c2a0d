"""The shard protocol: a crash between any two steps, and a sink that wakes late, neither lose nor double a row."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.runtime.errors import ConfigurationError, TransientError
from common.storage import Storage
from schemas.counters import ShardMark
from tests.s3_server import Place
from tests.workers.dataset.samples import samples
from workers.dataset.schema import Sample
from workers.dataset.shards import SENTINEL, ShardInTheWayError, ShardLostError, ShardStore, shard_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def opened(place: Place | Path) -> ShardStore:
    place = place if isinstance(place, Place) else Place(str(place))
    store = ShardStore(place.url, place.options)
    store.initialise()
    return store


def somewhere() -> Place:
    return Place(f"memory://{uuid4().hex}")


def token() -> str:
    return uuid4().hex


def mark_of(rows: list[Sample], token: str) -> ShardMark:
    return ShardMark(token=token, name=shard_name(3, rows[0].source.offset, rows[-1].source.offset))


def offsets(store: ShardStore) -> list[int]:
    """The source offsets of all rows, as they lie in the shards."""
    found = []
    for name in store.shards():
        with store.opened(name) as shard:
            found += shard.read(columns=["source_offset"]).column(0).to_pylist()
    return found


def storage(place: Place) -> Storage:
    return Storage(place.url, place.options, "dataset.url")


def pending(place: Place) -> list[str]:
    return storage(place).names("pending")


def test_a_damaged_shard_is_named(folder: Path) -> None:
    store = opened(folder)
    (folder / "data" / shard_name(3, 17, 20)).write_bytes(b"PAR1 but no more")
    said = rf"{shard_name(3, 17, 20)}: not a shard of this dataset, or damaged"
    with pytest.raises(ConfigurationError, match=said), store.opened(shard_name(3, 17, 20)):
        pass


def test_a_shard_counts_once_it_is_moved(place: Place) -> None:
    store = opened(place)
    rows = samples(120, 130)
    mark = mark_of(rows, token())
    store.write_pending(mark.token, rows)
    assert store.shards() == []
    store.finish(mark)
    assert store.shards() == ["part-00003-000000000120-000000000130.parquet"]
    assert offsets(store) == list(range(120, 131))
    assert pending(place) == []


def test_finishing_may_be_repeated_by_anybody(place: Place) -> None:
    first, second = opened(place), opened(place)
    rows = samples(0, 4)
    mark = mark_of(rows, token())
    first.write_pending(mark.token, rows)
    for store in (second, first, second):
        store.finish(mark)
    assert offsets(first) == list(range(5))


def test_a_copy_whose_source_was_not_deleted_is_finished(place: Place) -> None:
    store = opened(place)
    rows = samples(0, 4)
    mark = mark_of(rows, token())
    store.write_pending(mark.token, rows)
    files = storage(place)
    files.write(f"data/{mark.name}", files.read(f"pending/{mark.token}.parquet"))
    store.finish(mark)
    assert pending(place) == []
    assert offsets(store) == list(range(5))


def test_a_lost_shard_is_an_alarm(place: Place) -> None:
    store = opened(place)
    with pytest.raises(ShardLostError, match="part-00003-000000000000-000000000004"):
        store.finish(mark_of(samples(0, 4), token()))


def test_another_streams_shard_is_never_overwritten(place: Place) -> None:
    store = opened(place)
    rows = samples(0, 4)
    mark = mark_of(rows, token())
    store.write_pending(mark.token, rows)
    store.finish(mark)
    others = [*samples(0, 3), *samples(4, 4, partition=9)]
    intruder = mark_of(others, token())
    store.write_pending(intruder.token, others)
    with pytest.raises(ShardInTheWayError, match=r"dataset\.url"):
        store.finish(intruder)
    assert offsets(store) == list(range(5))


def test_a_writer_deletes_only_its_own(place: Place) -> None:
    mine, theirs = opened(place), opened(place)
    my_token, their_token = token(), token()
    mine.write_pending(my_token, samples(0, 1))
    theirs.write_pending(their_token, samples(0, 2))
    mine.discard(my_token)
    mine.discard(my_token)
    assert pending(place) == [f"{their_token}.parquet"]


def test_a_write_that_fails_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(place)

    def rows_then_disk_full(*_: object) -> Iterator[list[Sample]]:
        yield samples(0, 0)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.dataset.shards._row_groups", rows_then_disk_full)
    with pytest.raises(TransientError, match="No space left on device"):
        store.write_pending(token(), samples(0, 1))
    assert pending(place) == []


def test_a_folder_that_is_gone_is_an_outage_not_a_loss(folder: Path) -> None:
    store = opened(folder)
    rows = samples(0, 4)
    mark = mark_of(rows, token())
    store.write_pending(mark.token, rows)
    os.rename(folder, f"{folder}.away")
    for there in (False, True):
        if there:
            folder.mkdir()
        with pytest.raises(TransientError, match=SENTINEL):
            store.finish(mark)
        with pytest.raises(TransientError, match=SENTINEL):
            store.write_pending(token(), rows)
        assert not there or os.listdir(folder) == []
    folder.rmdir()
    os.rename(f"{folder}.away", folder)
    store.finish(mark)
    assert offsets(store) == list(range(5))


@pytest.mark.parametrize("bad", ["../../etc/passwd", "x", "0" * 31, ""])
def test_marks_from_outside_never_become_other_paths(place: Place, bad: str) -> None:
    store = opened(place)
    with pytest.raises(ValueError, match="shard token"):
        store.finish(ShardMark(token=bad, name=shard_name(0, 0, 0)))
    with pytest.raises(ValueError, match="shard name"):
        store.finish(ShardMark(token=token(), name=f"{bad}/part.parquet"))


def test_a_place_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"dataset\.url"):
        ShardStore("ftp://127.0.0.1/dataset", {})


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Group:
    """What Kafka keeps of the sink: the committed offset of one partition, and the mark committed with it."""

    offset: int = 0
    mark: ShardMark | None = None
    generation: int = 0


@dataclass
class Sink:
    """A sink as its runtime drives it: what is committed is finished first, then shard n before the commit of n+1.

    `steps` is how many steps it lives.
    """

    store: ShardStore
    group: Group
    steps: int
    generation: int = 0
    mark: ShardMark | None = field(default=None)
    position: int = 0

    def step(self) -> None:
        if self.steps == 0:
            raise Killed
        self.steps -= 1

    def assigned(self) -> None:
        self.group.generation += 1
        self.generation = self.group.generation
        self.position, self.mark = self.group.offset, self.group.mark
        self.finish()

    def finish(self) -> None:
        self.step()
        if self.mark is not None:
            self.store.finish(self.mark)

    def batch(self, size: int) -> None:
        rows = ROWS[self.position : self.position + size]
        mark = mark_of(rows, token())
        self.step()
        self.store.write_pending(mark.token, rows)
        self.step()
        if self.group.generation != self.generation:
            self.store.discard(mark.token)
            raise Killed  # fenced: whoever owns the partition now goes on
        self.group.offset, self.group.mark = self.position + len(rows), mark
        self.position, self.mark = self.group.offset, mark
        self.step()
        self.finish()

    def run(self) -> None:
        self.assigned()
        while self.position < len(ROWS):
            self.batch(random.Random(self.position).randint(1, 3))


ROWS = samples(0, 6)


def after(sink: Sink) -> None:
    try:
        sink.run()
    except Killed:
        return


@pytest.mark.parametrize("steps", range(21))
def test_killed_between_any_two_steps(place: Place, steps: int) -> None:
    group = Group()
    after(Sink(opened(place), group, steps))
    after(Sink(opened(place), group, 1_000))
    assert offsets(opened(place)) == list(range(len(ROWS)))


@settings(deadline=None, max_examples=20)
@given(lives=st.lists(st.integers(0, 9), max_size=4))
def test_killed_again_and_again(lives: list[int]) -> None:
    place = somewhere()
    group = Group()
    for steps in [*lives, 1_000]:
        after(Sink(opened(place), group, steps))
    assert offsets(opened(place)) == list(range(len(ROWS)))


@settings(deadline=None, max_examples=20)
@given(asleep_after=st.integers(0, 14), successor=st.integers(0, 20), then=st.integers(0, 3))
def test_a_sink_that_wakes_after_another_took_over(asleep_after: int, successor: int, then: int) -> None:
    place = somewhere()
    group = Group()
    sleeper = Sink(opened(place), group, asleep_after)
    after(sleeper)
    after(Sink(opened(place), group, successor))
    # It wakes where it stopped: in front of a move, or with a shard to commit.
    sleeper.steps = 1_000
    if sleeper.mark is not None:
        sleeper.finish()
    if sleeper.position < len(ROWS):
        try:
            sleeper.batch(then + 1)
        except Killed:
            pass
        else:
            assert sleeper.generation == group.generation, "only the owner commits"
    after(Sink(opened(place), group, 1_000))
    assert offsets(opened(place)) == list(range(len(ROWS)))
