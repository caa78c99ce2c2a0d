"""Which pictures anybody refers to: every record of every stream of the cluster, and the rows of the dataset."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.kafka import Admin, Partition, read_to_end
from common.runtime.errors import ConfigurationError
from common.settings import CommonSettings
from ops.blobs.digests import DigestSet
from schemas.topics import CAPTIONS, ROUTES, TOPICS, Names
from workers.dataset.shards import ShardStore

Report = Callable[[str], None]
"""Told what is being done, in a few words."""

REPORTED_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class Streams:
    """The prefixes of all streams of a cluster, and those of their topics that exist."""

    prefixes: Sequence[str]
    topics: Mapping[str, int]
    """Their numbers of partitions by name, in the order of the stream."""


def find_streams(settings: CommonSettings) -> Streams:
    """All streams of the cluster: which of them share the store is not known, so none is left out.

    Raises ConfigurationError when a topic of the stream in the settings is missing: it is another cluster, then, or
    records are gone that could refer to pictures.
    """
    own = [Names(settings.prefix).topic(topic.name) for topic in TOPICS]
    with Admin(settings.kafka) as admin:
        existing = admin.partition_counts(own)
    missing = [name for name in own if name not in existing]
    if missing:
        raise ConfigurationError(
            f"topic {missing[0]} does not exist at {settings.kafka.bootstrap_servers}: without all topics of the stream "
            "nobody can say which pictures are needed (settings `prefix` and `kafka.bootstrap_servers`, or "
            "`imgdiff topics create`)"
        )
    prefixes = sorted(
        prefix
        for prefix in (name.removesuffix(f".{CAPTIONS}") for name in existing if name.endswith(f".{CAPTIONS}"))
        if any(Names(prefix).topic(route.writes) in existing for route in ROUTES if route.writes)
    )
    topics = [Names(prefix).topic(topic.name) for prefix in prefixes for topic in TOPICS]
    return Streams(prefixes, {name: existing[name] for name in topics if name in existing})


class TopicReader:
    """Reads topics whole, and later what has come since."""

    def __init__(self, settings: CommonSettings, topics: Mapping[str, int], digests: DigestSet, report: Report) -> None:
        self._settings = settings
        self._topics = topics
        self._digests = digests
        self._report = report
        self._next: dict[Partition, int] = {}
        self.records = 0

    def read(self) -> None:
        """Read from where the last call ended, or all, up to where the topics end now.

        Aborted and uncommitted records count: they keep a picture that is not needed for a while, whereas a transaction
        that hangs would hide the committed ones behind it.
        """
        for record in read_to_end(self._settings.kafka, self._unread(), committed_only=False, start=self._next):
            self._next[record.partition] = record.offset + 1
            self.records += 1
            if record.value is not None:
                self._digests.add_all_in(record.value)
            if self.records % REPORTED_RECORDS == 0:
                self._report(f"{record.partition.topic}: {self.records:,} records read")

    def _unread(self) -> list[str]:
        """The topics that have something to read: most are empty, and each takes several questions."""
        partitions = {
            topic: [Partition(topic, index) for index in range(count)] for topic, count in self._topics.items()
        }
        with Admin(self._settings.kafka) as admin:
            starts = admin.log_starts([each for of_one in partitions.values() for each in of_one])
            ends = admin.log_ends(starts.keys())
        return [
            topic
            for topic, of_one in partitions.items()
            if any(max(starts[each], self._next.get(each, 0)) < ends[each] for each in of_one)
        ]


def add_dataset(shards: ShardStore, digests: DigestSet, report: Report) -> None:
    """Add the pictures that the rows of a dataset name. Their bytes are not read."""
    names = shards.shards()
    for number, name in enumerate(names, 1):
        with shards.opened(name) as shard:
            leaves = [shard.schema.column(index).path for index in range(len(shard.schema))]
            wanted = [leaf for leaf in leaves if leaf.rpartition(".")[2] == "path"]
            for batch in shard.iter_batches(columns=wanted):
                digests.add_all_in("\n".join(_texts_in(batch.to_pydict().values())).encode())
        if number % 100 == 0 or number == len(names):
            report(f"dataset: {number:,} of {len(names):,} shards read")


def _texts_in(values: Iterable[object]) -> list[str]:
    found: list[str] = []
    for value in values:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, Mapping):
            found += _texts_in(value.values())
        elif isinstance(value, Iterable):
            found += _texts_in(value)
    return found
