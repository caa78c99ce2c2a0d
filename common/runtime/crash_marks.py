"""Crash marks: what was in the stage when a process died, so that a record which kills its worker is found.

    <blobs.url>/crash-marks/<group>/<partition>.<term>.<owner>

A mark names the offsets of one partition that are in the stage now. It is written before a batch enters the stage, and
never deleted after one: what the group has committed since makes it void. An orderly exit or revoke takes the offsets out
of it; what else is known of records that are not committed stays. So whoever is given a partition and finds offsets in its
mark that are not committed knows that its predecessor died over them, and *suspects* them: until they are committed this
process has one record at a time, in all its threads together. Which of them kills is then seen, and one that does so twice
is dead-lettered without being run.

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
"""Marks of one batch that are written at once where each is a request to an object store."""


class OffsetRange(Frozen):
    """Offsets of one partition, both ends included."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)

    def joined(self, other: "OffsetRange | None") -> "OffsetRange":
        """The smallest range with both in it."""
        if other is None:
            return self
        return OffsetRange(first=min(self.first, other.first), last=max(self.last, other.last))


class Mark(Frozen):
    """What is known of one partition: the offsets in the stage, and what earlier crashes have shown."""

    at_work: OffsetRange | None = None
    alone: bool = False
    """Whether the one record at work is the only one in the stage, of any partition."""
    suspects: OffsetRange | None = None
    lone_crashes: dict[int, int] = {}
    """By offset, how often its process died while it was alone in it."""

    def at_work_on(self, offsets: OffsetRange, alone: bool) -> "Mark":
        """This history, with these offsets in the stage."""
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
    written: bool = False


class CrashMarks:
    """The marks of the partitions that one process owns. Thread-safe."""

    def __init__(self, settings: BlobSettings, group: str) -> None:
        """Contacts nothing. Raises ConfigurationError for a URL that is no folder and no object store."""
        self._storage = Storage(settings.url, settings.options, "blobs.url")
        self._folder = f"{FOLDER}/{group}"
        self._owner = uuid4().hex[:12]
        self._held: dict[Partition, _Held] = {}
        # Marks are written by the stage thread and taken back by another: never both at once.
        self._writing = threading.Lock()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="marks")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="mark-writer")
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
            self._held.setdefault(partition, _Held(_Name(partition.index, 1, self._owner), Mark()))
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
        held = _Held(_Name(partition.index, latest.term + 1, self._owner), mark)
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
            if held is None or held.history.suspects is None:
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
        log.error("%s/%d/%d: %s", fetched.partition.topic, fetched.partition.index, fetched.record.offset, detail)
        return Failed(DeadLetterKind.POISON, PoisonReason.CRASH, detail)

    def enter(self, batch: Sequence[Fetched]) -> None:
        """Mark these records, which are about to enter the stage together. Raises TransientError."""
        at_work: dict[Partition, list[int]] = {}
        for fetched in batch:
            at_work.setdefault(fetched.partition, []).append(fetched.record.offset)
        with self._writing:
            marks = [
                (held, held.history.at_work_on(OffsetRange(first=min(offsets), last=max(offsets)), len(batch) == 1))
                for partition, offsets in at_work.items()
                if (held := self._held.get(partition)) is not None  # else it goes elsewhere, and nobody waits for it
            ]
            if self._storage.local or len(marks) < 2:
                for held, mark in marks:
                    self._write(held, mark)
            else:
                list(self._writers.map(lambda pair: self._write(*pair), marks))

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
            try:
                for held in marks:
                    if held.written and held.history.suspects is not None:
                        self._write(held, held.history)
                    elif held.written:
                        self._delete(held.name)
            except TransientError as error:
                log.warning("crash marks stay, others will work carefully on what they name: %s", error)

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
        held.written = True

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
