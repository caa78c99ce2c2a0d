"""Captions into the stream, each exactly once.

A batch of captions, the dead letters of the items that are none, and the source's progress are one transaction.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from common.runtime.faults import Faults
from common.settings import CommonSettings, settings_digest
from ops.ingest.batches import batches
from ops.ingest.fresh import FreshItems
from ops.ingest.items import AnyItem, BadItem
from ops.ingest.messages import FAILED, MessageWriter
from ops.ingest.progress import ProgressLog, Run, progress_message
from ops.ingest.readers import Reading, WrongFileError
from ops.ingest.settings import IngestSettings
from ops.ingest.sources import Source, open_source
from ops.ingest.watch import WatchedFolder
from ops.transactions import Guard, Transactions, partitions_of, transactions
from ops.unattended import never, no_report
from schemas.ingest_progress import IngestProgress
from schemas.topics import CAPTIONS, INGEST, INGEST_PROGRESS, Names


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """Where a source stands while it is read. `share` is in [0, 1], None where nobody knows how much is to come."""

    name: str
    position: int
    ingested: int
    failed: int
    share: float | None


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What this run did with a source. `skipped` items had been read before; `position` is where it stands now.

    `complete` says that it has been read to its end, in this run or an earlier one.
    """

    source: str
    name: str
    skipped: int
    ingested: int
    failed: int
    position: int
    complete: bool


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What a run did. `interrupted` says that it was stopped before it had read what it should."""

    sources: Sequence[SourceResult]
    interrupted: bool = False

    @property
    def ingested(self) -> int:
        return sum(source.ingested for source in self.sources)

    @property
    def failed(self) -> int:
        return sum(source.failed for source in self.sources)


class Ingest:
    """Writes sources into one stream."""

    def __init__(
        self,
        common: CommonSettings,
        section: IngestSettings,
        *,
        stopping: Callable[[], bool] = never,
        report: Callable[[SourceProgress], None] = no_report,
        faults: Faults | None = None,
    ) -> None:
        """Raises ConfigurationError when no broker answers or the topics are not there."""
        self._common = common
        self._section = section
        self._stopping = stopping
        self._report = report
        self._faults = faults or Faults([])
        self._names = Names(common.prefix)
        self._worker = f"{INGEST}/{version('imgdiff')}"
        partitions_of(common, [self._names.topic(name) for name in (CAPTIONS, FAILED, INGEST_PROGRESS)])

    @property
    def reading(self) -> Reading:
        """How files are read."""
        return Reading(self._section.format, self._section.caption_field, self._section.id_field)

    def open(self, path: Path, name: str | None = None) -> Source:
        """A source, checked as far as that is possible before anything is written. Raises WrongFileError."""
        return open_source(path, self.reading, name)

    def ingest(self, source: Source, *, again: bool = False, limit: int | None = None) -> SourceResult:
        """Read a source on from where it stands, up to its first `limit` items.

        With `again`, a source that has been read to its end is read once more, as a reading of its own: its captions get
        ids of their own (`SOURCE+2:...`), so they are new captions and not repeats.

        Raises WrongFileError when the file is broken or changes, FencedError when another ingest of this source began
        meanwhile, InterruptedRunError when Kafka fails.
        """
        guard = self._guard(source)
        with transactions(guard, self._names.transactional_id(INGEST, source.id), self._faults) as writer:
            log = guard.run(lambda: ProgressLog.read(self._common.kafka, self._names))
            run = log.last_run(source.id)
            known = log.of(run)
            if again and known is not None and known.complete:
                run, known = run.next(), None
            begin = known or _nothing_read(run, source)
            if source.fixed and begin.complete:
                return _result(source, begin, begin)
            return _result(source, begin, self._read_on(source, run, begin, limit, writer))

    def _read_on(
        self, source: Source, run: Run, begin: IngestProgress, limit: int | None, writer: Transactions
    ) -> IngestProgress:
        messages = MessageWriter(self._names, run, self._worker, settings_digest(self._section))
        fresh = FreshItems(source.reader, begin.position, limit, count_all=not source.fixed)
        now = begin.model_copy(update={"complete": False})
        self._tell(source, now)
        for batch in batches(fresh, self._section.batch_size, self._section.batch_wait_s, self._stopping):
            source.check_unchanged()
            now = self._advanced(now, batch)
            writer.commit([*map(messages.message, batch), progress_message(self._names, now, self._worker)])
            self._tell(source, now)
        if fresh.ended:
            source.check_unchanged()
            if fresh.seen < now.position:
                raise WrongFileError(
                    f"{source.name}: ends after {fresh.seen} items, but {now.position} have been read under the name "
                    f"{source.id}: expected the same source, grown or as it was"
                )
            now = now.model_copy(update={"complete": True})
            if now != begin:
                writer.commit([progress_message(self._names, now, self._worker)])
        return now

    def _advanced(self, progress: IngestProgress, batch: Sequence[AnyItem]) -> IngestProgress:
        failed = sum(isinstance(item, BadItem) for item in batch)
        return progress.model_copy(
            update={
                "position": batch[-1].position + 1,
                "ingested": progress.ingested + len(batch) - failed,
                "failed": progress.failed + failed,
            }
        )

    def _tell(self, source: Source, now: IngestProgress) -> None:
        self._report(SourceProgress(source.name, now.position, now.ingested, now.failed, source.reader.share_read()))

    def _guard(self, source: Source) -> Guard:
        return Guard(
            self._common, source.name, f"another ingest of this source ({source.id}) has begun and goes on from here"
        )


def _nothing_read(run: Run, source: Source) -> IngestProgress:
    return IngestProgress(
        id=run.id, caption_id=run.id, source=run.id, name=source.name, position=0, ingested=0, failed=0, complete=False
    )


def _result(source: Source, begin: IngestProgress, now: IngestProgress) -> SourceResult:
    return SourceResult(
        source=now.source,
        name=source.name,
        skipped=begin.position,
        ingested=now.ingested - begin.ingested,
        failed=now.failed - begin.failed,
        position=now.position,
        complete=now.complete,
    )


def watch_folder(
    common: CommonSettings,
    section: IngestSettings,
    folder: Path,
    *,
    stopping: Callable[[], bool],
    finished: Callable[[SourceResult], None],
    refused: Callable[[WrongFileError], None],
    report: Callable[[SourceProgress], None] = no_report,
    faults: Faults | None = None,
) -> IngestResult:
    """Ingest the files that come to be in a folder, until `stopping` says so. A file that can not be read is `refused`."""
    watched = WatchedFolder(folder, section.watch_settled_s)
    ingest = Ingest(common, section, stopping=stopping, report=report, faults=faults)
    results = []
    while not stopping():
        for path in watched.ready(time.monotonic()):
            try:
                results.append(ingest.ingest(ingest.open(path)))
                finished(results[-1])
            except WrongFileError as error:
                refused(error)
            if stopping():
                break
        else:
            time.sleep(section.watch_interval_s)
    return IngestResult(results)


def ingest_files(
    common: CommonSettings,
    section: IngestSettings,
    paths: Sequence[Path],
    *,
    name: str | None = None,
    again: bool = False,
    limit: int | None = None,
    stopping: Callable[[], bool] = never,
    report: Callable[[SourceProgress], None] = no_report,
    faults: Faults | None = None,
) -> IngestResult:
    """Ingest files (`-`: standard input) one after the other; all of them are looked at before anything is written.

    `name` is what a single source is remembered by instead of its content. Raises as `Ingest` and `Ingest.ingest` do.
    """
    if name is not None and len(paths) != 1:
        raise WrongFileError(f"--source: found {len(paths)} files, expected one: a name stands for one source")
    ingest = Ingest(common, section, stopping=stopping, report=report, faults=faults)
    sources = [ingest.open(path, name) for path in paths]
    results = []
    for source in sources:
        result = ingest.ingest(source, again=again, limit=limit)
        results.append(result)
        read = result.complete or (limit is not None and result.position >= limit)
        if stopping():
            return IngestResult(results, interrupted=not read or len(results) < len(sources))
    return IngestResult(results)
