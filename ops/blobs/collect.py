"""Removing what nobody needs: pictures, shards that were never committed, and crash marks of workers long gone.

A file goes when nobody refers to it and it is old. Its age stands for the work in flight, whose records are not in a topic
yet: whatever a worker stores, or stores again, is young. Topics are read twice, so that a record is seen that moved from one
topic to another meanwhile.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from common.blobs import Blobs
from common.kafka import Admin
from common.runtime.crash_marks import FOLDER as CRASH_MARKS
from common.runtime.errors import ConfigurationError
from common.settings import CommonSettings
from common.storage import Storage
from ops.blobs.digests import DigestSet
from ops.blobs.references import Report, Stopping, Streams, TopicReader, add_dataset, find_streams
from ops.blobs.sweep import PictureSweep, Swept, sweep_files
from schemas.counters import OffsetMetadata
from schemas.topics import DATASET, Names
from workers.dataset.settings import DatasetSettings
from workers.dataset.shards import PENDING, ShardStore

LEAST_AGE_S = 24 * 3_600.0
"""No younger file is ever removed, whatever is asked for. It is far above the age at which a picture that is stored again is
made young (`common.blobs.RENEWED_AFTER_S`), plus the time in which a batch commits (`common.runtime.commit.KEPT_S`)."""

_PENDING_SHARD = re.compile(r"([0-9a-f]{32})\.parquet\Z")


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found and removed. Without `complete` it was stopped before the end; without `kinds` even before it looked
    at the store."""

    dry_run: bool
    complete: bool
    cutoff: float
    streams: Sequence[str]
    records: int
    referenced: int
    kinds: Mapping[str, Swept]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def retention_s(settings: CommonSettings) -> float:
    """The longest time that a record is kept, in seconds: older work can not be in flight."""
    return 3_600.0 * max(settings.topics.retention_hours, settings.topics.dead_letter_retention_hours)


class Collection:
    """One run of `imgdiff blobs gc`. What was changed at `cutoff` or later, in seconds since 1970, is kept."""

    def __init__(
        self,
        settings: CommonSettings,
        dataset: DatasetSettings,
        cutoff: float,
        *,
        dry_run: bool,
        stopping: Stopping,
        report: Report,
    ) -> None:
        if cutoff > time.time() - LEAST_AGE_S:
            raise ValueError(f"files younger than {LEAST_AGE_S / 3_600:.0f} hours may belong to work in flight")
        self._settings = settings
        self._cutoff = cutoff
        self._dry_run = dry_run
        self._stopping = stopping
        self._report = report
        self._storage = Storage(settings.blobs.url, settings.blobs.options, "blobs.url")
        self._dataset = Storage(dataset.url, dataset.options, "dataset.url")
        self._shards = ShardStore(dataset.url, dataset.options)

    def run(self) -> Collected:
        """Read what is referred to, then remove.

        Raises ConfigurationError where it can not be known what is needed: the store, a topic or the dataset is not
        there. Raises TransientError when one of them can not be reached; then what was removed so far was not needed.
        """
        blobs = Blobs(self._settings.blobs)
        blobs.check()
        streams = find_streams(self._settings, blobs.streams())
        needed = DigestSet()
        reader = TopicReader(self._settings, streams.topics, needed, stopping=self._stopping, report=self._report)
        reader.read()
        if not self._stopping():
            self._see_the_dataset()
            add_dataset(self._shards, needed, stopping=self._stopping, report=self._report)
        if not self._stopping():
            reader.read()
        # What has been read in part would leave out what is needed: nothing may be judged by it.
        kinds = {} if self._stopping() else self._sweep(streams, needed)
        return Collected(
            dry_run=self._dry_run,
            complete=not self._stopping(),
            cutoff=self._cutoff,
            streams=streams.prefixes,
            records=reader.records,
            referenced=len(needed),
            kinds=kinds,
        )

    def _sweep(self, streams: Streams, needed: DigestSet) -> dict[str, Swept]:
        sweep = PictureSweep(self._storage, needed, self._cutoff, dry_run=self._dry_run, stopping=self._stopping)
        sweep.run(self._report)
        kinds = {"pictures": sweep.swept}
        if not self._stopping():
            kinds["pending shards"] = self._sweep_pending(streams)
            marks = list(self._storage.files(CRASH_MARKS))
            kinds["crash marks"] = sweep_files(self._storage, marks, self._cutoff, dry_run=self._dry_run)
        return kinds

    def _see_the_dataset(self) -> None:
        """A dataset that is out of sight would look like one without rows."""
        if self._shards.initialised():
            return
        rows = sum(
            OffsetMetadata.decode(committed.metadata).counters.outputs
            for committed in self._offsets([self._settings.prefix])[self._settings.prefix]
        )
        if rows:
            raise ConfigurationError(
                f"setting `dataset.url`: no dataset at {self._shards.url}, but the sink of {self._settings.prefix} has "
                f"written {rows} rows: which pictures they show has to be known"
            )

    def _sweep_pending(self, streams: Streams) -> Swept:
        """Of a stream whose sink has not committed anything (any more), nobody knows which shards are waiting."""
        committed = self._offsets(streams.prefixes)
        if not committed[self._settings.prefix]:
            return Swept()
        waiting = {
            mark.token
            for offsets in committed.values()
            for mark in (OffsetMetadata.decode(each.metadata).shard for each in offsets)
            if mark is not None
        }
        found = [
            file
            for file in self._dataset.files(PENDING)
            if (match := _PENDING_SHARD.match(PurePosixPath(file.path).name)) and match[1] not in waiting
        ]
        return sweep_files(self._dataset, found, self._cutoff, dry_run=self._dry_run)

    def _offsets(self, prefixes: Sequence[str]) -> dict[str, list[Any]]:
        groups = {prefix: Names(prefix).group(DATASET.worker) for prefix in prefixes}
        with Admin(self._settings.kafka) as admin:
            found = admin.group_offsets(list(groups.values()))
        return {prefix: list(found[group].values()) for prefix, group in groups.items()}
