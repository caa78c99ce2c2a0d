"""The whole funnel at one moment: what was ingested, what every worker made of its input, what lies in the dataset."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.kafka import Admin, Committed, Partition
from common.runtime.errors import ConfigurationError
from common.settings import CommonSettings
from schemas.counters import Counters, OffsetMetadata
from schemas.topics import INGEST_PROGRESS, ROUTES, Names, Route


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker's totals over all partitions. `lag` is the number of offsets between committed and end.

    `replayed` of its dead letters have been sent again, so as many inputs are copies of earlier ones.
    """

    worker: str
    counters: Counters
    lag: int
    members: int
    replayed: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "worker": self.worker,
            "consumed": self.counters.consumed,
            "passed": self.counters.passed,
            "outputs": self.counters.outputs,
            "rejected": dict(self.counters.rejected),
            "failed": dict(self.counters.failed),
            "lag": self.lag,
            "members": self.members,
            "replayed": self.replayed,
        }


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """How many samples lie in the dataset, and where it is."""

    samples: int
    path: str


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The stream at one moment; `workers` in the order in which a caption passes them."""

    ingested: int
    workers: Sequence[WorkerStatus]
    dataset: DatasetStatus

    def to_json(self) -> dict[str, Any]:
        return {
            "ingested": self.ingested,
            "workers": [worker.to_json() for worker in self.workers],
            "dataset": {"samples": self.dataset.samples, "path": self.dataset.path},
        }

    @property
    def lag(self) -> int:
        return sum(worker.lag for worker in self.workers)

    @property
    def failed(self) -> int:
        """Inputs that could not be worked on, over all workers."""
        return sum(sum(worker.counters.failed.values()) for worker in self.workers)

    def gaps(self) -> list[str]:
        """Where the funnel does not add up: an input without an outcome, an output not consumed, a row not written.

        While the stream is at work these are records on their way; once all lag is 0 there must be none.
        """
        found = []
        source, arriving = "ingested", self.ingested
        for worker in self.workers:
            counters = worker.counters
            if counters.consumed != arriving + worker.replayed:
                again = f", replayed {worker.replayed}" if worker.replayed else ""
                found.append(f"{worker.worker} consumed {counters.consumed}, {source} {arriving}{again}")
            if not counters.balanced:
                found.append(f"{worker.worker} consumed {counters.consumed}, but passed, rejected and failed differ")
            source, arriving = f"{worker.worker} made", counters.outputs
        if self.dataset.samples != arriving:
            found.append(f"the dataset has {self.dataset.samples} samples, {source} {arriving}")
        return found


class StatusReader:
    """Reads the status of one stream, again and again over one connection. Close it after use (a context manager)."""

    def __init__(
        self,
        settings: CommonSettings,
        dataset_path: str,
        count_samples: Callable[[], int],
        count_ingested: Callable[[], int],
        count_replayed: Callable[[Route], int],
    ) -> None:
        """The counting functions are asked anew at each reading, but for the first only when there is something new.

        Raises ConfigurationError when no broker answers or the topics are not there.
        """
        self._names = Names(settings.prefix)
        self._dataset_path = dataset_path
        self._count_samples = count_samples
        self._count_ingested = count_ingested
        self._count_replayed = count_replayed
        self._ingested_at: tuple[int, int] | None = None
        self._replayed_at: dict[str, tuple[int, int]] = {}
        self._admin = Admin(settings.kafka)
        try:
            self._partitions = self._find_partitions()
        except BaseException:
            self._admin.close()
            raise

    def __enter__(self) -> "StatusReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.close()

    def read(self) -> StreamStatus:
        """The status now. Raises KafkaError when the cluster does not answer."""
        groups = [self._names.group(route.worker) for route in ROUTES]
        everything = [partition for partitions in self._partitions.values() for partition in partitions]
        # The ends come last: a record written in between shows as lag, never as work done before it was there.
        committed = self._admin.group_offsets(groups)
        members = self._admin.member_counts(groups)
        starts = self._admin.log_starts(
            [p for route, group in zip(ROUTES, groups, strict=True)
             for p in self._partitions[route.reads] if p not in committed[group]]
        )  # fmt: skip
        ends = self._admin.end_offsets(everything)
        return StreamStatus(
            ingested=self._ingested(sum(ends[partition] for partition in self._partitions[INGEST_PROGRESS])),
            workers=[
                _worker_status(
                    route.worker,
                    committed=committed[group],
                    starts=starts,
                    ends=ends,
                    partitions=self._partitions[route.reads],
                    members=members[group],
                    replayed=self._replayed(route, sum(ends[p] for p in self._partitions[route.replayed])),
                )
                for route, group in zip(ROUTES, groups, strict=True)
            ],
            dataset=DatasetStatus(self._count_samples(), self._dataset_path),
        )

    def _ingested(self, end: int) -> int:
        if self._ingested_at is None or self._ingested_at[0] != end:
            self._ingested_at = (end, self._count_ingested())
        return self._ingested_at[1]

    def _replayed(self, route: Route, end: int) -> int:
        known = self._replayed_at.get(route.worker)
        if known is None or known[0] != end:
            known = self._replayed_at[route.worker] = (end, self._count_replayed(route) if end else 0)
        return known[1]

    def _find_partitions(self) -> dict[str, list[Partition]]:
        wanted = {name: self._names.topic(name) for name in (*(route.reads for route in ROUTES), INGEST_PROGRESS)}
        counts = self._admin.partition_counts(wanted.values())
        missing = sorted(full for full in wanted.values() if full not in counts)
        if missing:
            raise ConfigurationError(f"topics missing: {', '.join(missing)}: run `imgdiff topics create`")
        # Streams from before there was a replay do not have these; nothing has been sent again there.
        wanted |= {route.replayed: self._names.topic(route.replayed) for route in ROUTES}
        return {name: [Partition(full, index) for index in range(counts.get(full, 0))] for name, full in wanted.items()}


def _worker_status(
    worker: str,
    *,
    committed: Mapping[Partition, Committed],
    starts: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    partitions: Collection[Partition],
    members: int,
    replayed: int,
) -> WorkerStatus:
    here = {partition: committed[partition] for partition in partitions if partition in committed}
    done = {partition: here[partition].offset if partition in here else starts[partition] for partition in partitions}
    return WorkerStatus(
        worker=worker,
        counters=Counters.total(_counters(partition, each) for partition, each in here.items()),
        lag=sum(max(0, ends[partition] - done[partition]) for partition in partitions),
        members=members,
        replayed=replayed,
    )


def _counters(partition: Partition, committed: Committed) -> Counters:
    try:
        return OffsetMetadata.decode(committed.metadata).counters
    except ValueError as error:
        raise ConfigurationError(
            f"{partition.topic}/{partition.index}: {error}; something else committed here"
        ) from error
