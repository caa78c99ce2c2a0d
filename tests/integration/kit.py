"""A stream on the test broker, its worker processes, and the recount that holds their promises to what lies in the topics."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from common.blobs import Blobs
from common.kafka import Admin, ConsumedRecord, Message, Partition, TransactionalProducer, read_to_end
from common.settings import CommonSettings, load_layers
from ops.topics import create_topics
from schemas import headers
from schemas.captions import Caption
from schemas.codec import encode
from schemas.counters import Counters, OffsetMetadata
from schemas.dead_letters import ATTEMPT
from schemas.headers import OutcomePart, text_header
from schemas.topics import Names, Route

ROOT = Path(__file__).parent.parent.parent

_LOG_LINE = re.compile(r"[\d-]+ [\d:,]+ (?P<level>[A-Z]+) +[\w-]+: (?P<said>.*)")


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = 60.0, pause_s: float = 0.1) -> float:
    """Seconds until the condition held. Fails the test when it does not within the time-out."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(pause_s)
    return time.monotonic() - started


class WorkerProcess:
    """A worker as people start it; its log is kept for assertions."""

    def __init__(self, module: str, environ: Mapping[str, str], folder: Path, name: str) -> None:
        self.log_path = folder / f"{name}.log"
        self.started_at = time.time()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=ROOT, env=dict(environ), stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def lines(self, level: str) -> list[str]:
        """What the log says at a level, without time and name."""
        found = map(_LOG_LINE.fullmatch, self.log.splitlines())
        return [line["said"] for line in found if line and line["level"] == level]

    @property
    def strays(self) -> list[str]:
        """Lines of the log that are none: what a library or Python itself printed."""
        return [line for line in self.log.splitlines() if not _LOG_LINE.fullmatch(line)]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """The exit code."""
        return self.process.wait(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of one of the worker's own pages."""
        from urllib.error import HTTPError, URLError

        wait_until("http port in the log", lambda: "http port" in self.log, 15)
        port = self.log.rsplit("http port ", 1)[1].split(",")[0]
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except URLError as error:
            return 0, str(error)


@dataclass
class Stream:
    """One prefixed stream with a store of its own."""

    broker: str
    prefix: str
    folder: Path
    partitions: int = 4
    environ: dict[str, str] = field(default_factory=dict)
    processes: list[WorkerProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("IMGDIFF_")},
            "IMGDIFF_PREFIX": self.prefix,
            "IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": self.broker,
            "IMGDIFF_BLOBS__URL": str(self.folder / "blobs"),
            "IMGDIFF_DATASET__URL": str(self.folder / "dataset"),
            "IMGDIFF_RUNTIME__LOCK_FOLDER": str(self.folder / "locks"),
            "IMGDIFF_RUNTIME__SESSION_TIMEOUT_S": "10",
            "IMGDIFF_RUNTIME__TRANSACTION_TIMEOUT_S": "10",
            "IMGDIFF_RUNTIME__RETRY_FIRST_S": "0.1",
            "IMGDIFF_RUNTIME__RETRY_MAX_S": "1",
            "IMGDIFF_TOPICS__PARTITIONS": str(self.partitions),
            "OMP_NUM_THREADS": "1",
            **self.environ,
        }

    @property
    def settings(self) -> CommonSettings:
        return load_layers(self.environ).common()

    @property
    def names(self) -> Names:
        return Names(self.prefix)

    def create(self) -> "Stream":
        create_topics(self.settings)
        Blobs(self.settings.blobs).initialise()
        return self

    def start(self, module: str, name: str | None = None, **environ: str) -> WorkerProcess:
        worker = WorkerProcess(
            module, self.environ | environ, self.folder, name or f"{module.rpartition('.')[2]}-{len(self.processes)}"
        )
        self.processes.append(worker)
        return worker

    def end(self) -> None:
        for worker in self.processes:
            worker.kill()

    def produce(self, messages: Iterable[Message]) -> None:
        producer = TransactionalProducer(self.settings.kafka, f"{self.prefix}.test-{time.monotonic_ns()}", 30)
        producer.begin()
        for message in messages:
            producer.send(message)
        producer.commit()
        producer.close()

    def produce_captions(self, texts: Sequence[str], start: int = 0) -> None:
        self.produce(self.caption_message(text, start + position) for position, text in enumerate(texts))

    def caption_message(self, text: str, position: int) -> Message:
        identity = f"test:#{position}"
        caption = Caption(id=identity, caption_id=identity, caption=text, source="test", position=position)
        return Message(
            topic=self.names.topic("captions"),
            key=identity.encode(),
            value=encode(caption),
            headers=[(headers.SCHEMA, Caption.schema_name().encode())],
            partition=position % self.partitions,
        )

    def read(self, topic: str, committed_only: bool = True) -> list[ConsumedRecord]:
        return list(read_to_end(self.settings.kafka, [self.names.topic(topic)], committed_only=committed_only))

    def lag(self, worker: str, reads: str) -> int:
        """Records between what the group has committed and the end of its topic."""
        topic = self.names.topic(reads)
        with Admin(self.settings.kafka) as admin:
            committed = admin.group_offsets([self.names.group(worker)])[self.names.group(worker)]
            ends = admin.end_offsets([Partition(topic, index) for index in range(self.partitions)])
        return sum(end - (committed[p].offset if p in committed else 0) for p, end in ends.items())

    def counters(self, worker: str) -> Counters:
        group = self.names.group(worker)
        with Admin(self.settings.kafka) as admin:
            offsets = admin.group_offsets([group])[group]
        return Counters.total(OffsetMetadata.decode(committed.metadata).counters for committed in offsets.values())

    def settle(self, worker: str, reads: str, timeout_s: float = 60.0) -> float:
        """Wait until the worker has nothing left to do."""
        return wait_until(f"lag 0 of {worker}", lambda: self.lag(worker, reads) == 0, timeout_s, 0.2)

    def recount(self, route: Route) -> "Recount":
        """What the topics say that this worker has done; fails where an input has no outcome, or more than one.

        A commit returns before its markers are written, so the last outcomes may take a moment to be readable.
        """
        for _ in range(20):
            try:
                return Recount.of(self, route)
            except UnaccountedError:
                time.sleep(0.5)
        return Recount.of(self, route)


class UnaccountedError(AssertionError):
    """An input has no outcome."""


@dataclass(frozen=True)
class Recount:
    """One worker's outcomes, walked from the topics."""

    inputs: int
    outputs: dict[str, list[ConsumedRecord]]
    rejected: dict[str, str]
    failed: dict[str, str]

    @property
    def ids(self) -> set[str]:
        """Record ids of all outputs."""
        import msgpack

        return {msgpack.unpackb(record.value)["id"] for records in self.outputs.values() for record in records}

    @property
    def counters(self) -> Counters:
        return Counters(
            consumed=self.inputs,
            passed=len(self.outputs),
            outputs=sum(map(len, self.outputs.values())),
            rejected=dict(Counter(self.rejected.values())),
            failed=dict(Counter(self.failed.values())),
        )

    @classmethod
    def of(cls, stream: Stream, route: Route) -> "Recount":
        inputs = [f"{r.partition.topic}/{r.partition.index}/{r.offset}" for r in stream.read(route.reads)]
        outputs: dict[str, list[ConsumedRecord]] = {}
        for record in stream.read(route.writes) if route.writes else []:
            made_from = text_header(record.headers, headers.SOURCE)
            # What tests themselves put into the topic came from nowhere; what was sent again is there already.
            if made_from is not None and text_header(record.headers, ATTEMPT) is None:
                outputs.setdefault(made_from, []).append(record)
        for source, records in outputs.items():
            parts = [OutcomePart.parse(text_header(r.headers, headers.OUTCOME) or "") for r in records]
            assert [part.index for part in parts] == list(range(parts[0].count)), f"{source}: {parts}"
        dead = {}
        for topic in (route.rejected, route.failed):
            found: dict[str, str] = {}
            for record in stream.read(topic):
                source = (text_header(record.headers, "dlq.source") or "").rpartition("/")[0]
                assert source not in found, f"{source}: two dead letters in {topic}"
                found[source] = text_header(record.headers, "dlq.reason") or ""
            dead[topic] = found
        rejected, failed = dead[route.rejected], dead[route.failed]
        outcomes = Counter([*outputs, *rejected, *failed])
        if missing := sorted(set(inputs) - set(outcomes)):
            raise UnaccountedError(f"without outcome: {missing[:5]}")
        assert set(outcomes) == set(inputs), f"without input: {sorted(set(outcomes) - set(inputs))[:5]}"
        assert max(outcomes.values(), default=1) == 1, f"more than one outcome: {outcomes.most_common(3)}"
        return cls(len(inputs), outputs, rejected, failed)


def metric(page: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels on a /metrics page."""
    total = 0.0
    for line in page.splitlines():
        named = line.startswith((name + "{", name + " "))
        if named and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def journal(path: Path) -> list[dict[str, Any]]:
    """What the probe worker wrote down of its calls."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
