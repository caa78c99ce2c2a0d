"""A worker inside the test's own process: the test sees what it does to its clients, and stops it at its steps."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from common.kafka import Committed, Fetched, GroupConsumer, Membership, Message, Partition, TransactionalProducer
from common.runtime import worker as worker_module
from common.runtime.exits import ExitCode
from common.runtime.faults import Faults, Step
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Emit, Task
from common.runtime.worker import Worker
from common.settings import StageSettings, load_layers
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.topics import EDITS
from schemas.trail import ModelId
from tests.integration.kit import Stream
from tests.integration.probe import ProbeReason

PATIENCE_S = 60.0


class Hooks(Faults):
    """Runs a function at one passing of a step, instead of killing the process."""

    def __init__(self, step: Step, action: Callable[[], object], passing: int = 1) -> None:
        super().__init__([])
        self._step = step
        self._action = action
        self._left = passing

    def reached(self, step: Step) -> None:
        if step is self._step:
            self._left -= 1
            if self._left == 0:
                self._action()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a client: `client` counts the clients of its kind."""

    kind: str
    client: int
    method: str
    thread: str
    partitions: frozenset[Partition] = frozenset()


class Witness:
    """What the threads of the worker did to consumer and producer, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.polled = 0
        self.clients = {"consumer": 0, "producer": 0}

    def note(self, kind: str, client: int, method: str, partitions: Collection[Partition] = ()) -> None:
        self.calls.append(Call(kind, client, method, threading.current_thread().name, frozenset(partitions)))

    def count(self, kind: str, method: str) -> int:
        return sum((call.kind, call.method) == (kind, method) for call in self.calls)

    def client(self, kind: str) -> int:
        self.clients[kind] += 1
        return self.clients[kind]


class ProbeStage:
    """Passes everything. `process` runs `hook` with the ids first."""

    models: Sequence[ModelId] = (ModelId(role="caption_editor", id="probe", revision="1"),)

    def __init__(self, hook: Callable[[Sequence[str]], None]) -> None:
        self._hook = hook

    def process(self, batch: Sequence[Task[Caption]]) -> Sequence[Emit[Edit]]:
        self._hook([task.record.id for task in batch])
        return [Emit([task.record.derive(Edit, 0, edited_caption=f"{task.record.caption} again")]) for task in batch]


class Harness:
    """Builds the worker and runs it in a thread."""

    def __init__(self, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stream = stream
        self.witness = Witness()
        self.on_connect: Callable[[int], None] = lambda client: None
        """Called before a producer connects, with its number."""
        self.on_poll: Callable[[int], None] = lambda client: None
        """Called before a consumer is polled, with its number."""
        self._threads: dict[Worker, threading.Thread] = {}
        self.exit_code: ExitCode | None = None
        """How the last worker ended."""
        monkeypatch.setattr(worker_module, "GroupConsumer", self._consumer)
        monkeypatch.setattr(worker_module, "TransactionalProducer", self._producer)

    @contextmanager
    def worker(
        self,
        stage: Callable[[Sequence[str]], None] = lambda ids: None,
        faults: Faults | None = None,
        *,
        batch_size: int = 4,
        environ: Mapping[str, str] | None = None,
    ) -> Iterator[Worker]:
        """A worker that runs while the block does, and is then stopped."""
        common = load_layers(self._stream.environ | dict(environ or {})).common()
        spec = WorkerSpec(
            route=EDITS,
            reads=Caption,
            settings=StageSettings,
            reasons=ProbeReason,
            build=lambda settings, common: ProbeStage(stage),
        )
        worker = Worker(spec, StageSettings(batch_size=batch_size), common, {"IMGDIFF_INSTANCE": "here"})
        if faults is not None:
            worker._faults = faults
        thread = threading.Thread(target=self._run, args=(worker,), name="worker", daemon=True)
        self._threads[worker] = thread
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            self.end_of(worker)

    def end_of(self, worker: Worker) -> ExitCode | None:
        """Wait until the worker has ended; its exit code."""
        thread = self._threads[worker]
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the worker goes on"
        return self.exit_code

    def _run(self, worker: Worker) -> None:
        self.exit_code = worker.run()

    def _consumer(self, *arguments: Any, **named: Any) -> GroupConsumer:
        harness, witness, number = self, self.witness, self.witness.client("consumer")

        class Watched(GroupConsumer):
            def poll(self, timeout_s: float, max_records: int) -> list[Fetched]:
                witness.note("consumer", number, "poll")
                harness.on_poll(number)
                polled = super().poll(timeout_s, max_records)
                witness.polled += sum(len(fetched.records) for fetched in polled)
                return polled

            def committed(self, partition: Partition, timeout_s: float) -> Committed | None:
                witness.note("consumer", number, "committed", [partition])
                return super().committed(partition, timeout_s)

            def seek(self, partition: Partition, offset: int) -> None:
                witness.note("consumer", number, "seek", [partition])
                super().seek(partition, offset)

            def pause(self, partitions: Collection[Partition]) -> None:
                witness.note("consumer", number, "pause", partitions)
                super().pause(partitions)

            def resume(self, partitions: Collection[Partition]) -> None:
                witness.note("consumer", number, "resume", partitions)
                super().resume(partitions)

            def position(self, partition: Partition) -> int | None:
                witness.note("consumer", number, "position", [partition])
                return super().position(partition)

            def close(self, timeout_s: float) -> None:
                witness.note("consumer", number, "close")
                super().close(timeout_s)

        return Watched(*arguments, **named)

    def _producer(self, *arguments: Any, **named: Any) -> TransactionalProducer:
        harness, witness, number = self, self.witness, self.witness.client("producer")

        class Watched(TransactionalProducer):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                harness.on_connect(number)
                super().__init__(*arguments, **named)
                witness.note("producer", number, "init_transactions")

            def begin(self) -> None:
                witness.note("producer", number, "begin")
                super().begin()

            def send(self, message: Message) -> None:
                witness.note("producer", number, "send")
                super().send(message)

            def send_offsets(self, offsets: Mapping[Partition, Committed], membership: Membership) -> None:
                witness.note("producer", number, "send_offsets", offsets)
                super().send_offsets(offsets, membership)

            def commit(self) -> None:
                witness.note("producer", number, "commit")
                super().commit()

            def close(self, timeout_s: float = 1.0) -> None:
                witness.note("producer", number, "close")
                super().close(timeout_s)

        return Watched(*arguments, **named)
