"""How far each source has been read: the records of the compacted topic `ingest-progress`."""

from collections.abc import Iterable
from dataclasses import dataclass

from common.kafka import ConsumedRecord, Message, read_to_end
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings
from schemas import codec, headers
from schemas.ingest_progress import IngestProgress
from schemas.invalid import InvalidRecord
from schemas.topics import INGEST_PROGRESS, Names

AGAIN = "+"
"""Joins a source with the number of a repeated reading; no source's own id has it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One reading of a source from its beginning: the first under the source's own id, each repeated one under its own."""

    source: str
    number: int

    @property
    def id(self) -> str:
        return self.source if self.number == 1 else f"{self.source}{AGAIN}{self.number}"

    def next(self) -> "Run":
        return Run(self.source, self.number + 1)


class ProgressLog:
    """The last progress of every reading."""

    def __init__(self, records: Iterable[IngestProgress]) -> None:
        self._last = {record.source: record for record in records}

    @classmethod
    def read(cls, settings: KafkaSettings, names: Names) -> "ProgressLog":
        """Read committed, to the end. Raises ConfigurationError when the topic does not exist, or something else wrote to it.

        Progress behind a transaction that another ingest has open, or left open, would look like none at all.
        """
        topic = names.topic(INGEST_PROGRESS)
        return cls(_decoded(record) for record in read_to_end(settings, [topic], behind_open=True))

    def of(self, run: Run) -> IngestProgress | None:
        return self._last.get(run.id)

    def last_run(self, source: str) -> Run:
        """The latest reading of a source; the first one where there was none."""
        run = Run(source, 1)
        while self.of(run.next()) is not None:
            run = run.next()
        return run

    @property
    def ingested(self) -> int:
        """All captions ever ingested."""
        return sum(record.ingested for record in self._last.values())


def ingested_captions(settings: KafkaSettings, prefix: str) -> int:
    """How many captions have been ingested into the stream with this prefix."""
    return ProgressLog.read(settings, Names(prefix)).ingested


def progress_message(names: Names, progress: IngestProgress, worker: str) -> Message:
    """The record that makes this progress known."""
    return Message(
        topic=names.topic(INGEST_PROGRESS),
        key=progress.source.encode(),
        value=codec.encode(progress),
        headers=[
            (headers.SCHEMA, progress.schema_name().encode()),
            (headers.WORKER, worker.encode()),
        ],
    )


def _decoded(record: ConsumedRecord) -> IngestProgress:
    try:
        return codec.decode(IngestProgress, record.value, headers.text_header(record.headers, headers.SCHEMA))
    except InvalidRecord as invalid:
        raise ConfigurationError(
            f"{record.place}: not a progress record: {invalid.detail}; something else wrote to this topic"
        ) from invalid
