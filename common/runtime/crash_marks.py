"""Crash marks: what was at work when a process died, so that a record which kills its worker is found.

    <blobs.url>/crash-marks/<group>/<partition>.<term>.<owner>

A mark names the offsets of one partition that are at work: what the prefetch decodes, what waits behind it, what is in the
stage, stored or committed. It is written before a record is loaded, for all that has been fetched by then, so that records
on their way to the stage need no other; and never deleted after them: what the group has committed since makes it void. An
orderly exit or revoke takes the offsets out of it; what else is known of records that are not committed stays. So whoever
is given a partition and finds offsets in its mark that are not committed knows that its predecessor died over them, and
*suspects* them: until they are committed this process has one record at a time, in all its threads together. Which of them
kills is then seen, and one that does so twice is dead-lettered without being run.

Those suspected are more than died: all that their process had fetched and not committed. None of them is held against but
what was alone.

There is one mark per partition, and not per process, because partitions move and the next owner has to find it. Nobody
writes over another's mark: the names are different, and of several the one with the highest term counts, which every owner
takes one above what it finds. What a process that was frozen writes when it wakes up is therefore ignored.

A mark has to outlive its process, not the machine's power: it is not waited for until it is on disk, and one that can not
be read counts as none. In doubt nothing is held against a record: it takes another crash until it is found.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from pydantic import Field, ValidationError

from common.kafka import Partition
from common.runtime.errors import TransientError
from common.runtime.flight import Failed, Fetched
from common.settings import BlobSettings
from common.storage import Storage
from schemas.base import Frozen
from schemas.dead_letters import DeadLetterKind, PoisonReason

log = logging.getLogger(__name__)

FOLDER = "crash-marks"

LONE_CRASHES = 2
"""How often a record may kill its process while it is the only one in it. Once may be an accident, such as a SIGKILL."""

MAX_MARK_BYTES = 64 * 1024
WRITERS = 8
"""Marks that are written at once where each is a request to an object store."""


class OffsetRange(Frozen):
    """Offsets of one partition, both ends included."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)

    def joined(self, other: "OffsetRange | None") -> "OffsetRange":
        """The smallest range with both in it."""
        if other is None:
            return self
        return OffsetRange(first=min(self.first, other.first), last=max(self.last, other.last))

    def covers(self, other: "OffsetRange") -> bool:
        return self.first <= other.first and other.last <= self.last


class Mark(Frozen):
    """What is known of one partition: the offsets at work, and what earlier crashes have shown."""

    at_work: OffsetRange | None = None
    alone: bool = False
    """Whether the one record at work is the only one in the process, of any partition."""
    suspects: OffsetRange | None = None
    lone_crashes: dict[int, int] = {}
    """By offset, how often its process died while it was alone in it."""

    def at_work_on(self, offsets: OffsetRange, alone: bool) -> "Mark":
        """This history, with these offsets at work."""
        return self.model_copy(update={"at_work": offsets, "alone": alone})

    def after_crash(self) -> "Mark":
        """What this mark says once its writer is known to have died."""
        if self.at_work is None:
            return self
        crashes = dict(self.lone_crashes)
        if self.alone:
            crashes[self.at_work.first] = crashes.get(self.at_work.first, 0) + 1
        return Mark(suspects=self.at_work.joined(self.suspects), lone_crashes=crashes)

    def within(self, begin: int, end: int) -> "Mark":
        """The suspects from `begin` on and before `end`, with what is known of them."""
        if self.suspects is None:
            return Mark()
        first, last = max(self.suspects.first, begin), min(self.suspects.last, end - 1)
        if first > last:
            return Mark()
        crashes = {offset: count for offset, count in self.lone_crashes.items() if first <= offset <= last}
        return Mark(suspects=OffsetRange(first=first, last=last), lone_crashes=crashes)


@dataclass(frozen=True, slots=True, order=True)
class _Name:
    """A mark's place: names of one partition sort by term."""

    partition: int
    term: int
    owner: str

    def __str__(self) -> str:
        return f"{self.partition:05d}.{self.term:06d}.{self.owner}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        parts = text.split(".")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            return None
        return cls(int(parts[0]), int(parts[1]), parts[2])


@dataclass(slots=True)
class _Held:
    """A partition whose marks this process writes."""

    name: _Name
    history: Mark
    """With nothing at work."""
    committed: int
    """The offset that is committed, as far as is known here."""
    last: int = -1
    """The last offset that was fetched."""
    written: Mark | None = None

    @property
    def begun(self) -> OffsetRange | None:
        """What is fetched and not committed."""
        return OffsetRange(first=self.committed, last=self.last) if self.committed <= self.last else None

    @property
    def lone(self) -> bool:
        """Whether its mark says of a record that it is the only one at work."""
        mark = self.written
        return mark is not None and mark.alone and mark.at_work is not None and mark.at_work.first >= self.committed

    def marked(self, offsets: OffsetRange) -> bool:
        """Whether its mark says of these that they are at work."""
        return self.written is not None and self.written.at_work is not None and self.written.at_work.covers(offsets)


class CrashMarks:
    """The marks of the partitions that one process owns. Thread-safe."""

    def __init__(self, settings: BlobSettings, group: str) -> None:
        """Contacts nothing. Raises ConfigurationError for a URL that is no folder and no object store."""
        self._storage = Storage(settings.url, settings.options, "blobs.url")
        self._folder = f"{FOLDER}/{group}"
        self._owner = uuid4().hex[:12]
        self._held: dict[Partition, _Held] = {}
        self._loading: dict[int, Sequence[Fetched]] = {}
        """By thread of the prefetch."""
        self._entered: Sequence[Fetched] = ()
        """What the stage was given last. It may be stored and committed by now."""
        # Several threads write marks, another takes them back. Who waits for a write finds its own records in it, too.
        self._writing = threading.Lock()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="marks")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="mark-writer")
        self._told_to_end = False
        self.isolating = False
        """Whether a partition has suspects, so that this process may have one record at a time."""

    def prepare(self) -> None:
        """Make the folder, at a worker's start, once the store is known to be there. Raises TransientError."""
        with self._translated():
            self._storage.create_folder(self._folder)

    def adopt(self, partition: Partition, committed: int, log_end: Callable[[], int]) -> None:
        """Take over the marks of a partition that was assigned, before anything of it is fetched. `log_end` is only called
        where there are suspects. Raises TransientError, and what `log_end` raises."""
        with self._translated():
            names = filter(None, map(_Name.parse, self._storage.names(self._folder)))
            found = sorted(name for name in names if name.partition == partition.index)
        if not found:
            self._held.setdefault(partition, _Held(_Name(partition.index, 1, self._owner), Mark(), committed))
            return
        latest = found[-1]
        held = self._held.get(partition)
        if held is None or held.name.term < latest.term:
            self._take_over(partition, latest, committed, log_end)
        for name in found:
            if name.owner != self._owner:
                self._delete(name)

    def _take_over(self, partition: Partition, latest: _Name, committed: int, log_end: Callable[[], int]) -> None:
        mark = self._read(latest)
        # What this process has marked itself, before the partition went and came back, killed nobody.
        mark = mark.after_crash() if latest.owner != self._owner else mark
        if mark.suspects is not None and mark.suspects.last >= committed:
            # A log that was emptied or made anew may never have them again.
            mark = mark.within(committed, log_end())
        elif mark.suspects is not None:
            mark = Mark()
        held = _Held(_Name(partition.index, latest.term + 1, self._owner), mark, committed)
        if mark.suspects is not None:
            log.warning(
                "%s/%d: a worker died over offsets %d to %d: until they are done this process works on one record at a time",
                partition.topic,
                partition.index,
                mark.suspects.first,
                mark.suspects.last,
            )
            # Before the predecessor's is deleted: what it counted must not be lost when this process dies now.
            self._write(held, mark)
        self._held[partition] = held

    def suspected(self, committed: Mapping[Partition, int]) -> set[Partition]:
        """Those of these partitions that have suspects left, by what is committed of them."""
        found = set()
        for partition, offset in committed.items():
            held = self._held.get(partition)
            if held is None:
                continue
            held.committed = offset
            if held.history.suspects is None:
                continue
            if held.history.suspects.last < offset:
                log.info("%s/%d: all suspects are done", partition.topic, partition.index)
                held.history = Mark()
            else:
                found.add(partition)
        self.isolating = bool(found)
        return found

    def condemned(self, fetched: Fetched) -> Failed | None:
        """The outcome of a record that has killed its process as often as it may; None for every other."""
        held = self._held.get(fetched.partition)
        crashes = held.history.lone_crashes.get(fetched.record.offset, 0) if held is not None else 0
        if crashes < LONE_CRASHES:
            return None
        detail = f"its process died {crashes} times while this record was the only one in it"
        log.error("%s: %s", fetched.record.place, detail)
        return Failed(DeadLetterKind.POISON, PoisonReason.CRASH, detail)

    def fetched(self, records: Sequence[Fetched]) -> None:
        """These records of one partition are about to be loaded, part by part: the next mark names them all."""
        if (held := self._held.get(records[0].partition)) is not None:
            held.last = max(held.last, records[-1].record.offset)

    def begin(self, chunk: Sequence[Fetched]) -> None:
        """Mark these records, which the calling thread is about to load. Raises TransientError."""
        self._loading[threading.get_ident()] = chunk
        self._mark(chunk)

    def loaded(self) -> None:
        """The calling thread has loaded what it began with."""
        self._loading.pop(threading.get_ident(), None)

    def enter(self, batch: Sequence[Fetched]) -> None:
        """Mark these records, which are about to enter the stage together. Raises TransientError."""
        self._entered = batch
        self._mark(batch)

    def lone_suspect(self) -> bool:
        """Whether the record at work is the only one in this process, and stays so until it is committed."""
        return self.isolating and self._alone()

    def _alone(self) -> bool:
        """Whether there is one record at work. What waits between prefetch and stage is not."""
        lone = None
        for part in (*list(self._loading.values()), self._entered):
            for fetched in part:
                held = self._held.get(fetched.partition)
                if held is not None and fetched.record.offset < held.committed:
                    continue
                place = (fetched.partition, fetched.record.offset)
                if lone is not None and place != lone:
                    return False
                lone = place
        return lone is not None

    def draining(self) -> None:
        """This process was told to end. Whatever kills it now, such as who does not want to wait, it is no record."""
        self._told_to_end = True
        self._background.submit(self._mark_nobody_alone)

    def _mark_nobody_alone(self) -> None:
        try:
            self._mark([])
        except TransientError as error:
            log.warning("a crash mark says still that a record is alone: %s", error)

    def _mark(self, records: Sequence[Fetched]) -> None:
        with self._writing:
            due = self._due(records)
            if self._storage.local or len(due) < 2:
                for held, mark in due:
                    self._write(held, mark)
            else:
                writes = [self._writers.submit(self._write, held, mark) for held, mark in due]
                wait(writes)
                for write in writes:
                    write.result()

    def _due(self, records: Sequence[Fetched]) -> list[tuple[_Held, Mark]]:
        """The marks that lack something that is at work, and those that call a record the only one that is so no longer."""
        given: dict[Partition, list[int]] = {}
        for fetched in records:
            given.setdefault(fetched.partition, []).append(fetched.record.offset)
        alone = self._alone() and not self._told_to_end
        due = []
        for partition, held in list(self._held.items()):  # what is not in it goes elsewhere, and nobody waits for it
            offsets = given.get(partition)
            if offsets is not None:
                held.last = max(held.last, *offsets)
            if alone and offsets is not None:
                exact = OffsetRange(first=offsets[0], last=offsets[0])
                mark = held.history.at_work_on(exact, True)
                # One that is marked among others is marked well enough while nothing is suspected.
                if mark != held.written and (self.isolating or not held.marked(exact)):
                    due.append((held, mark))
            elif (begun := held.begun) is not None and (held.lone or not held.marked(begun)):
                due.append((held, held.history.at_work_on(begun, False)))
        return due

    def keep(self, partitions: Collection[Partition]) -> None:
        """Take back the marks of all other partitions, in the background: they go elsewhere in good order."""
        for partition in [partition for partition in self._held if partition not in partitions]:
            self._background.submit(self._take_back, [self._held.pop(partition)])

    def clear(self, committed: Mapping[Partition, int], timeout_s: float) -> None:
        """Take back all marks of this process, which ends in good order. What earlier crashes have shown of records that
        are not `committed` stays."""
        self.suspected(committed)
        held = list(self._held.values())
        self._held.clear()
        if wait([self._background.submit(self._take_back, held)], timeout_s).not_done:
            log.warning("crash marks stay, others will work carefully on what they name: no answer")

    def _take_back(self, marks: Sequence[_Held]) -> None:
        with self._writing:
            # At once: where each is a request, all of a worker's would else outlast its exit.
            wait([self._writers.submit(self._take_one_back, held) for held in marks if held.written is not None])

    def _take_one_back(self, held: _Held) -> None:
        try:
            if held.history.suspects is not None:
                self._write(held, held.history)
            else:
                self._delete(held.name)
        except TransientError as error:
            log.warning("a crash mark stays, others will work carefully on what it names: %s", error)

    def _read(self, name: _Name) -> Mark:
        try:
            with self._translated():
                return Mark.model_validate_json(self._storage.read(f"{self._folder}/{name}", MAX_MARK_BYTES))
        except ValidationError:
            log.warning("crash mark %s can not be read and counts as none", name)
            return Mark()

    def _write(self, held: _Held, mark: Mark) -> None:
        with self._translated():
            self._storage.write_lightly(
                f"{self._folder}/{held.name}", mark.model_dump_json(exclude_defaults=True).encode()
            )
        held.written = mark

    def _delete(self, name: _Name) -> None:
        with self._translated():
            try:
                self._storage.delete(f"{self._folder}/{name}")
            except FileNotFoundError:
                return  # another owner has been faster

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise TransientError(
                f"{self._storage.url} (setting `blobs.url`): no place for crash marks: {error}"
            ) from error
