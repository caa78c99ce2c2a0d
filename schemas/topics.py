"""The table of topics and of the workers between them, and every name that is derived from the prefix."""

from dataclasses import dataclass
from enum import StrEnum

from schemas.codec import MAX_RECORD_BYTES

MAX_DEAD_LETTER_BYTES = 5 * 1024 * 1024
"""`max.message.bytes` of dead-letter topics and `max_request_size` of the producer: an input plus its headers."""

SEGMENT_HOURS = 24
"""How long a topic writes into one file of its log, unless its records are kept for less. A file is deleted as a whole: so
much longer than its retention a record may stay."""

CAPTIONS = "captions"
INGEST_PROGRESS = "ingest-progress"
INGEST = "ingest"
REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Route:
    """A worker: the topic that it reads, and the topic that it writes, if any (the sink writes files)."""

    worker: str
    reads: str
    writes: str | None

    @property
    def rejected(self) -> str:
        return f"{self.worker}.rejected"

    @property
    def failed(self) -> str:
        return f"{self.worker}.failed"

    @property
    def replayed(self) -> str:
        """What of the dead letters has been sent again."""
        return f"{self.worker}.replayed"


EDITS = Route("edits", reads=CAPTIONS, writes="edits")
PAIRS = Route("pairs", reads="edits", writes="pairs")
BOXES = Route("boxes", reads="pairs", writes="boxes")
REGION_CAPTIONS = Route("region-captions", reads="boxes", writes="region-captions")
QA = Route("qa", reads="region-captions", writes="qa")
DATASET = Route("dataset", reads="qa", writes=None)

ROUTES = (EDITS, PAIRS, BOXES, REGION_CAPTIONS, QA, DATASET)
"""All workers, in the order in which a caption passes them."""


class Retention(StrEnum):
    """How long a topic keeps its records."""

    RECORDS = "records"
    DEAD_LETTERS = "dead_letters"
    COMPACTED = "compacted"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, without its prefix. Records and dead letters of one worker share the number of partitions."""

    name: str
    retention: Retention
    max_message_bytes: int


def _topics() -> tuple[Topic, ...]:
    records = [CAPTIONS, *(route.writes for route in ROUTES if route.writes)]
    dead_letters = [f"{INGEST}.failed"]
    for route in ROUTES:
        dead_letters += [route.rejected, route.failed]
    return (
        *(Topic(name, Retention.RECORDS, MAX_RECORD_BYTES) for name in records),
        *(Topic(name, Retention.DEAD_LETTERS, MAX_DEAD_LETTER_BYTES) for name in dead_letters),
        *(
            Topic(name, Retention.COMPACTED, MAX_RECORD_BYTES)
            for name in (INGEST_PROGRESS, *(route.replayed for route in ROUTES))
        ),
    )


TOPICS = _topics()
"""Every topic of a stream."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one stream on a cluster. Streams with different prefixes share nothing."""

    prefix: str

    def topic(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    def plain_topic(self, full_name: str) -> str:
        """The name in the table of a topic with its prefix."""
        return full_name.removeprefix(f"{self.prefix}.")

    def group(self, worker: str) -> str:
        return f"{self.prefix}.{worker}"

    def replay_group(self, worker: str, job: str) -> str:
        """The group of one job that sends a worker's dead letters again; it keeps where the job stands."""
        return self.group(f"{REPLAY}.{worker}.{job}")

    def is_replay_group(self, group: str) -> bool:
        """Whether a group of the cluster is that of a replay of this stream, whatever the job."""
        head, _, job = group.rpartition(".")
        return bool(job) and any(head == self.group(f"{REPLAY}.{route.worker}") for route in ROUTES)

    def transactional_id(self, worker: str, instance: str) -> str:
        return f"{self.prefix}.{worker}.{instance}"
