"""What has been sent again: the records of the compacted topic `<worker>.replayed`."""

from collections.abc import Iterable

from common.kafka import Admin, ConsumedRecord, Message, Partition, read_to_end
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings
from schemas import codec, headers
from schemas.headers import SourceCoordinates
from schemas.invalid import InvalidRecord
from schemas.replays import Replayed, ReplayJob
from schemas.topics import Names, Route

JOB = "job/"
"""Begins the key of a job. Coordinates never look like it: they end in two numbers, and a job's id is none."""

TAIL = 2_048
"""Offsets to look at first for the last job: more than one transaction takes."""


class ReplayLog:
    """All jobs of one worker's dead letters, and which inputs they have sent, by what, and how often."""

    def __init__(self, entries: Iterable[Replayed | ReplayJob] = ()) -> None:
        self.jobs: dict[str, ReplayJob] = {}
        self.total = 0
        """Records that were ever sent again to this stage."""
        self._sent: dict[tuple[str, int], dict[int, tuple[str, int]]] = {}
        self._marks: dict[tuple[str, int], tuple[str, int]] = {}
        for entry in entries:
            self.add(entry)

    @classmethod
    def read(cls, settings: KafkaSettings, names: Names, route: Route) -> "ReplayLog":
        """Read committed, to the end. Raises ConfigurationError when the topic does not exist, or something else wrote to it.

        What another replay has left open has to be settled first: what is behind it would look as if it were not there.
        """
        return cls(map(_decoded, read_to_end(settings, [names.topic(route.replayed)], behind_open=True)))

    def add(self, entry: Replayed | ReplayJob) -> None:
        """Entries come in the order of the log."""
        if isinstance(entry, ReplayJob):
            self.jobs[entry.id] = entry
            self.total = entry.total
        else:
            at = SourceCoordinates.parse(entry.id)
            # One pair for all inputs of a job: there may be a million of them.
            mark = self._marks.setdefault((entry.job, entry.times), (entry.job, entry.times))
            self._sent.setdefault((at.topic, at.partition), {})[at.offset] = mark

    def times(self, source: SourceCoordinates) -> int:
        """How often an input has been sent again."""
        return self._entry(source)[1]

    def last_job(self, source: SourceCoordinates) -> str:
        """The job that sent an input last; empty where none has."""
        return self._entry(source)[0]

    def unfinished(self, asked: str) -> ReplayJob | None:
        """The latest job that was asked for the same and is not complete."""
        found = [job for job in self.jobs.values() if job.asked == asked and not job.complete]
        return found[-1] if found else None

    def _entry(self, source: SourceCoordinates) -> tuple[str, int]:
        return self._sent.get((source.topic, source.partition), {}).get(source.offset, ("", 0))


def replayed_total(settings: KafkaSettings, names: Names, route: Route) -> int:
    """How many records have been sent again to a stage; 0 where the topic does not exist.

    Every transaction of a replay ends with its job, which knows the total: only the topic's tail is read.
    """
    partition = Partition(names.topic(route.replayed), 0)
    with Admin(settings) as admin:
        if partition.topic not in admin.partition_counts():
            return 0
        begin, end = admin.log_starts([partition])[partition], admin.end_offsets([partition])[partition]
    back = TAIL
    while True:
        start = max(begin, end - back)
        jobs = (
            entry
            for record in read_to_end(settings, [partition.topic], start={partition: start})
            if isinstance(entry := _decoded(record), ReplayJob)
        )
        totals = [job.total for job in jobs]
        if totals or start == begin:
            return totals[-1] if totals else 0
        back *= 8


def log_message(names: Names, route: Route, entry: Replayed | ReplayJob, worker: str) -> Message:
    """The record that makes an entry known."""
    key = f"{JOB}{entry.id}" if isinstance(entry, ReplayJob) else entry.id
    return Message(
        topic=names.topic(route.replayed),
        key=key.encode(),
        value=codec.encode(entry),
        headers=[(headers.SCHEMA, entry.schema_name().encode()), (headers.WORKER, worker.encode())],
    )


def _decoded(record: ConsumedRecord) -> Replayed | ReplayJob:
    schema = headers.text_header(record.headers, headers.SCHEMA)
    try:
        if (record.key or b"").startswith(JOB.encode()):
            return codec.decode(ReplayJob, record.value, schema)
        replayed = codec.decode(Replayed, record.value, schema)
        SourceCoordinates.parse(replayed.id)
    except (InvalidRecord, ValueError) as error:
        said = error.detail if isinstance(error, InvalidRecord) else f"{replayed.id[:80]!r} is no place of an input"
        raise ConfigurationError(
            f"{record.place}: not a record of a replay: {said}; something else wrote to this topic"
        ) from error
    return replayed
