"""Which pictures anybody refers to: every record of every stream of the cluster, and the rows of the dataset."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.blobs import NotedStream
from common.kafka import Admin, Partition, read_together
from common.runtime.errors import ConfigurationError
from common.settings import CommonSettings
from ops.blobs.digests import DigestSet
from schemas.topics import CAPTIONS, ROUTES, TOPICS, Names
from workers.dataset.shards import ShardStore

Report = Callable[[str], None]
"""Told what is being done, in a few words."""

Stopping = Callable[[], bool]
"""Whether the user wants an end."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The prefixes of all streams of a cluster, and those of their topics that exist."""

    prefixes: Sequence[str]
    topics: Mapping[str, int]
    """Their numbers of partitions by name, in the order of the stream."""


def find_streams(settings: CommonSettings, noted: Collection[NotedStream]) -> Streams:
    """All streams of the cluster. Those that are `noted` in the store share it; of others that is not known, so none is left
    out.

    Raises ConfigurationError when a topic of the stream in the settings is missing, or a noted stream is not to be seen: it
    is another cluster, then, or a user who may not see it, or records are gone that could refer to pictures.
    """
    own, where = _topics(settings.prefix), settings.kafka.bootstrap_servers
    with Admin(settings.kafka) as admin:
        cluster = admin.cluster_id()
        here = {stream.prefix for stream in noted if stream.cluster == cluster}
        existing = admin.partition_counts([*own, *(topic for prefix in here for topic in _topics(prefix))])
    missing = [name for name in own if name not in existing]
    if missing:
        raise ConfigurationError(
            f"topic {missing[0]} does not exist at {where}: without all topics of the stream "
            "nobody can say which pictures are needed (settings `prefix` and `kafka.bootstrap_servers`, or "
            "`imgdiff topics create`)"
        )
    for stream in noted:
        if stream.cluster != cluster or not any(topic in existing for topic in _topics(stream.prefix)):
            raise ConfigurationError(
                f"setting `blobs.url`: the stream {stream.prefix} of the cluster {stream.cluster} stores its pictures there, "
                f"too, and is not to be seen at {where}, the cluster {cluster}: nobody can say which pictures it needs; where "
                f"it is gone for good, delete the file {stream.path} of the store"
            )
    prefixes = sorted(
        prefix
        for prefix in (name.removesuffix(f".{CAPTIONS}") for name in existing if name.endswith(f".{CAPTIONS}"))
        if any(Names(prefix).topic(route.writes) in existing for route in ROUTES if route.writes)
    )
    topics = [name for prefix in sorted({*prefixes, *here}) for name in _topics(prefix)]
    return Streams(prefixes, {name: existing[name] for name in topics if name in existing})


def _topics(prefix: str) -> list[str]:
    return [Names(prefix).topic(topic.name) for topic in TOPICS]


class TopicReader:
    """Reads topics whole, and later what has come since."""

    def __init__(
        self,
        settings: CommonSettings,
        topics: Mapping[str, int],
        digests: DigestSet,
        *,
        stopping: Stopping,
        report: Report,
    ) -> None:
        self._settings = settings
        self._partitions = [Partition(topic, index) for topic, count in topics.items() for index in range(count)]
        self._digests = digests
        self._stopping = stopping
        self._report = report
        self._next: dict[Partition, int] = {}
        self.records = 0

    def read(self) -> None:
        """Read from where the last call ended, or all, up to where the topics end now. When told to stop it only breaks off.

        Aborted and uncommitted records count: they keep a picture that is not needed for a while, whereas a transaction
        that hangs would hide the committed ones behind it.
        """
        with Admin(self._settings.kafka) as admin:
            first = admin.log_starts(self._partitions)
            ends = admin.log_ends(self._partitions)
        starts = {each: max(first[each], self._next.get(each, 0)) for each in self._partitions}
        self._report(f"{len(self._partitions)} partitions: {self.records:,} records read")
        for records in read_together(self._settings.kafka, starts, ends):
            if self._stopping():
                return
            self.records += len(records)
            for record in records:
                if record.value is not None:
                    self._digests.add_all_in(record.value)
            self._report(f"{len(self._partitions)} partitions: {self.records:,} records read")
        self._next = ends


def add_dataset(shards: ShardStore, digests: DigestSet, *, stopping: Stopping, report: Report) -> None:
    """Add the pictures that the rows of a dataset name. Their bytes are not read. When told to stop it only breaks off."""
    names = shards.shards()
    for number, name in enumerate(names, 1):
        if stopping():
            return
        with shards.opened(name) as shard:
            leaves = [shard.schema.column(index).path for index in range(len(shard.schema))]
            wanted = [leaf for leaf in leaves if leaf.rpartition(".")[2] == "path"]
            for batch in shard.iter_batches(columns=wanted):
                digests.add_all_in("\n".join(_texts_in(batch.to_pydict().values())).encode())
        if number % 10 == 0 or number == len(names):
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
