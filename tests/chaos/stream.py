"""One stream under faults: its topics, its store, its processes, and the proxy through which they reach the broker."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from common.kafka import Admin, KafkaError, Partition
from common.runtime.errors import ConfigurationError
from common.settings import section_of
from ops.broker.network import HOST
from schemas.counters import Counters, OffsetMetadata
from schemas.topics import INGEST, ROUTES
from tests.chaos.members import FaultFiles, Member, ingest_program, struck, worker_program
from tests.chaos.proxy import Proxy
from tests.integration.kit import Stream

T = TypeVar("T")

PARTITIONS = 4
BATCH_RECORDS = 6
"""Small, so that every worker passes every step several times with each handful of captions."""

DELAY_S = 0.1
"""Per call of a model: work is in flight for longer than its arithmetic takes, at no cost of CPU."""

STAGE_TIMEOUT_S = 20.0
"""Longer than any process is stopped for: one that wakes up in the midst of a call has not hung."""

LOOK_S = 0.1
SETTLE_S = 180.0
"""How long a stream may take to settle once a fault is over."""

KEPT_FILES = 2
"""An ingest that starts again looks at every file in its folder: only the last ones stay there."""

WORKERS = tuple(route.worker for route in ROUTES)


def settings(batch_records: int, delay_s: float) -> Mapping[str, str]:
    """What all processes of a stream are set to."""
    return {
        "IMGDIFF_RUNTIME__SESSION_TIMEOUT_S": "10",
        "IMGDIFF_RUNTIME__TRANSACTION_TIMEOUT_S": "5",
        "IMGDIFF_RUNTIME__STAGE_TIMEOUT_S": str(STAGE_TIMEOUT_S),
        "IMGDIFF_RUNTIME__CIRCUIT_PAUSE_S": "2",
        "IMGDIFF_INGEST__BATCH_SIZE": str(batch_records),
        "IMGDIFF_INGEST__WATCH_INTERVAL_S": "0.2",
        "IMGDIFF_INGEST__WATCH_SETTLED_S": "0",
        "IMGDIFF_SKETCH__DELAY_S": str(delay_s),
        "IMGDIFF_DATASET__BATCH_WAIT_S": "0.5",
        **{f"IMGDIFF_{section_of(worker).upper()}__BATCH_SIZE": str(batch_records) for worker in WORKERS},
    }


SETTINGS = settings(BATCH_RECORDS, DELAY_S)


class UnsettledError(Exception):
    """A stream, or a part of it, did not get to where it had to within its time."""


class ChaosStream:
    """One stream and everything that runs for it. One thread uses it."""

    def __init__(
        self, name: str, broker: str, folder: Path, proxy: Proxy, settings: Mapping[str, str] = SETTINGS
    ) -> None:
        """`broker` is its own address; the processes go through the proxy. Topics and store are made."""
        folder.mkdir()
        self.name = name
        self.folder = folder
        self.proxy = proxy
        self.topics = Stream(broker, name, folder, PARTITIONS, dict(settings)).create()
        self.files = FaultFiles(folder / "faults")
        self.watched = folder / "captions"
        self.watched.mkdir()
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.members: list[Member] = []
        self.ended_by_hand = 0
        self.fed = 0
        self._environ = self.topics.environ | {"IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": f"{HOST}:{proxy.port}"}
        self._fed_files: list[Path] = []
        self._started: dict[str, int] = {}
        self._admin: Admin | None = None

    def start_all(self) -> None:
        """One process of each worker, and one of ingest."""
        for worker in (INGEST, *WORKERS):
            self.start(worker)

    def start(self, worker: str) -> Member:
        """One more process."""
        number = self._started[worker] = self._started.get(worker, 0) + 1
        name = f"{worker}-{number}"
        program = (
            ingest_program(name, self._environ, self.files, self.watched)
            if worker == INGEST
            else worker_program(worker, name, self._environ, self.files)
        )
        member = Member(worker, program, self.logs / f"{name}.log")
        self.members.append(member)
        return member

    def stop(self, member: Member) -> None:
        """SIGTERM to a process that is to leave for good."""
        self.members.remove(member)
        if not member.stop():
            self.ended_by_hand += 1

    def stop_extras(self) -> None:
        """Leave one process of each worker."""
        seen: set[str] = set()
        for member in list(self.members):
            if member.worker in seen:
                self.stop(member)
            seen.add(member.worker)

    def joined(self, worker: str) -> bool:
        """Whether all processes of a worker are members of its group. Ingest has no group."""
        count = sum(member.worker == worker for member in self.members)
        return worker == INGEST or self._member_counts([worker]).get(worker, 0) >= count

    def all_joined(self) -> bool:
        """Whether every worker has a process in its group."""
        return all(count > 0 for count in self._member_counts(WORKERS).values())

    @property
    def retries(self) -> int:
        """How often the processes have said that they wait for their store."""
        return sum(member.retries for member in self.members)

    def feed(self, batches: Mapping[str, Sequence[str]]) -> None:
        """Files of captions for ingest to find, once the stream has settled. No two may ever have the same content."""
        for path in self._fed_files[:-KEPT_FILES]:
            path.unlink()
        del self._fed_files[:-KEPT_FILES]
        for name, captions in batches.items():
            path = self.watched / f"{name}.txt"
            aside = self.watched / f".{name}.txt"
            aside.write_text("".join(f"{caption}\n" for caption in captions))
            aside.rename(path)
            self._fed_files.append(path)
            self.fed += len(captions)

    def counters(self) -> dict[str, Counters] | None:
        """What each worker has done, as the broker says; None while it does not answer."""
        groups = {worker: self.topics.names.group(worker) for worker in WORKERS}
        offsets = self._asked(lambda admin: admin.group_offsets(list(groups.values())))
        if offsets is None:
            return None
        return {
            worker: Counters.total(OffsetMetadata.decode(c.metadata).counters for c in offsets[group].values())
            for worker, group in groups.items()
        }

    def settled(self) -> bool:
        """Whether everything that was fed has its outcome in every stage."""
        counters = self.counters()
        if counters is None:
            return False
        expected = self.fed
        for worker in WORKERS:
            if counters[worker].consumed != expected:
                return False
            expected = counters[worker].outputs
        return True

    def at_rest(self, worker: str) -> bool:
        """Whether a worker has committed up to the end of its topic, past the last markers. Ingest reads none."""
        route = next((route for route in ROUTES if route.worker == worker), None)
        if route is None:
            return True
        group, topic = self.topics.names.group(worker), self.topics.names.topic(route.reads)
        partitions = [Partition(topic, index) for index in range(PARTITIONS)]
        committed = self._asked(lambda admin: admin.group_offsets([group])[group])
        ends = self._asked(lambda admin: admin.end_offsets(partitions))
        return (
            committed is not None
            and ends is not None
            and all(
                end == 0 or (partition in committed and committed[partition].offset >= end)
                for partition, end in ends.items()
            )
        )

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = SETTLE_S) -> float:
        """Keep the processes running until the condition holds; the seconds that it took. Raises UnsettledError."""
        began = time.monotonic()
        while not condition():
            for member in self.members:
                member.look()
            waited = time.monotonic() - began
            if waited > timeout_s:
                raise UnsettledError(f"not within {timeout_s:.0f} s: {what}; {self._standing()}")
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def pause(self, seconds: float) -> None:
        """Let time pass, and keep the processes running."""
        over = time.monotonic() + seconds
        self.wait("time to pass", lambda: time.monotonic() >= over, seconds + SETTLE_S)

    def struck(self, path: Path) -> bool:
        """Wait until the fault of a file has struck; False, with the fault disarmed, where the stream settled without."""
        mark = struck(path)
        self.wait(f"the fault of {path.name} to strike", lambda: mark.exists() or self.settled())
        if not mark.exists():
            path.unlink(missing_ok=True)
        return mark.exists()

    def end(self) -> None:
        """Stop everything."""
        for member in list(self.members):
            self.stop(member)
        self._forget_admin()
        self.proxy.end()

    def _member_counts(self, workers: Sequence[str]) -> dict[str, int]:
        groups = {self.topics.names.group(worker): worker for worker in workers}
        counts = self._asked(lambda admin: admin.member_counts(list(groups))) or {}
        return {worker: counts.get(group, 0) for group, worker in groups.items()}

    def _asked(self, question: Callable[[Admin], T]) -> T | None:
        """The broker's answer; None where there is none."""
        try:
            if self._admin is None:
                self._admin = Admin(self.topics.settings.kafka)
            return question(self._admin)
        except (KafkaError, ConfigurationError):
            self._forget_admin()
            return None

    def _forget_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _standing(self) -> str:
        counters = self.counters()
        if counters is None:
            return "the broker does not answer"
        return f"fed {self.fed}, " + ", ".join(
            f"{worker}: {counted.consumed} in, {counted.outputs} out" for worker, counted in counters.items()
        )
