"""What the runtime costs: a worker with an identity stage against a bare transactional loop with batches of equal size.

Both decode, validate, encode and write the same headers for 50,000 records of 200 bytes on the same broker, in turn, in
processes of their own. CPU is that of the whole process, less that of a process which only starts up and stops.

    python -m benchmarks.runtime_overhead              starts a local broker of its own
    python -m benchmarks.runtime_overhead --bootstrap 127.0.0.1:9092
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from common.blobs import Blobs
from common.kafka import Admin, Message, Partition, TransactionalProducer
from common.kafka.client import client_config
from common.kafka.producer import BATCH_BYTES, LINGER_MS
from common.runtime.delivery import child_traceparent
from common.runtime.main import run_worker
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Emit, Reject, Stage, Task
from common.settings import CommonSettings, StageSettings, load_layers
from ops.topics import create_topics, delete_stream
from schemas import codec, headers
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.topics import EDITS, Names
from schemas.trail import ModelId, TrailStep

RECORD_BYTES = 200
BATCH = 500
PARTITIONS = 4
IDENTITY = ModelId(role="caption_editor", id="identity", revision="1")


class NoReason(StrEnum):
    """An identity stage rejects nothing."""


class IdentityStage:
    """Passes every caption on as its own edit."""

    models: Sequence[ModelId] = (IDENTITY,)

    def process(self, batch: Sequence[Task[Caption]]) -> Sequence[Emit[Edit] | Reject]:
        return [Emit([task.record.derive(Edit, 0, edited_caption=task.record.caption)]) for task in batch]


def build(settings: StageSettings, common: CommonSettings) -> Stage[Caption, Edit]:
    return IdentityStage()


WORKER = WorkerSpec(route=EDITS, reads=Caption, settings=StageSettings, reasons=NoReason, build=build)


@dataclass(frozen=True)
class Run:
    """One side's figures: wall and CPU seconds of the work itself."""

    wall_s: float
    cpu_s: float
    records: int

    @property
    def rate(self) -> float:
        return self.records / self.wall_s

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.records * 1e6


@click.command()
@click.option("--records", default=50_000, show_default=True)
@click.option("--runs", default=3, show_default=True, help="Of each side, in turn.")
@click.option("--bootstrap", help="A running broker; otherwise one is started.")
@click.option("--side", type=click.Choice(["worker", "bare"]), hidden=True)
def main(records: int, runs: int, bootstrap: str | None, side: str | None) -> None:
    """Compare the runtime with a bare loop."""
    if side == "worker":
        run_worker(WORKER)
    elif side == "bare":
        bare_loop(load_layers(os.environ).common(), records)
    else:
        with _broker(bootstrap) as servers:
            _compare(servers, records, runs)


def bare_loop(settings: CommonSettings, records: int) -> None:
    """Consume, decode, encode, produce, commit: kafka-python and nothing else, one thread."""
    from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata
    from kafka.record import default_records, memory_records

    # `common.kafka` has the client read batches in a way of its own; here the client is as it comes.
    memory_records.DefaultRecordBatch = default_records.DefaultRecordBatch
    names = Names(settings.prefix)
    consumer = KafkaConsumer(
        names.topic("captions"),
        group_id=names.group("edits"),
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_bytes=8 * 1024 * 1024,
        **client_config(settings.kafka),
    )
    producer = KafkaProducer(
        transactional_id=f"{settings.prefix}.bare",
        batch_size=BATCH_BYTES,
        linger_ms=LINGER_MS,
        **client_config(settings.kafka),
    )
    producer.init_transactions()
    topic = names.topic("edits")
    done = 0
    while done < records:
        polled = consumer.poll(timeout_ms=500, max_records=BATCH)
        if not polled:
            continue
        producer.begin_transaction()
        offsets = {}
        for tp, batch in polled.items():
            for record in batch:
                caption = codec.decode(Caption, record.value, headers.text_header(record.headers, headers.SCHEMA))
                step = TrailStep(
                    stage="edits", worker_version="0", settings_digest="0" * 12, models=(IDENTITY,),
                    batch_size=len(batch), seconds=0.001, finished_at=time.time(),
                )  # fmt: skip
                edit = caption.derive(Edit, 0, edited_caption=caption.caption)
                edit = edit.model_copy(update={"trail": (*edit.trail, step)})
                producer.send(
                    topic,
                    key=edit.caption_id.encode(),
                    value=codec.encode(edit),
                    headers=[
                        (headers.SCHEMA, Edit.schema_name().encode()),
                        (headers.SOURCE, f"{tp.topic}/{tp.partition}/{record.offset}".encode()),
                        (headers.OUTCOME, b"0/1"),
                        (headers.WORKER, b"edits/0"),
                        (headers.TRACEPARENT, child_traceparent(record.headers, edit).encode()),
                    ],
                    partition=tp.partition,
                )
            offsets[tp] = OffsetAndMetadata(batch[-1].offset + 1, "", -1)
            done += len(batch)
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.flush()
        producer.commit_transaction()
    producer.close()
    consumer.close(autocommit=False)


def _compare(servers: str, records: int, runs: int) -> None:
    sides: dict[str, list[Run]] = {"worker": [], "bare": []}
    for _ in range(runs):
        for side, found in sides.items():
            found.append(_measure(side, servers, records))
            click.echo(f"{side:7} {found[-1].rate:8.0f} records/s {found[-1].cpu_us:7.1f} us CPU per record", err=True)
    worker, bare = (
        {"rate": _median(r.rate for r in s), "cpu_us": _median(r.cpu_us for r in s)} for s in sides.values()
    )
    stage_us = _stage_seconds(records) / records * 1e6
    click.echo(
        json.dumps(
            {
                "records": records,
                "record_bytes": RECORD_BYTES,
                "batch": BATCH,
                "runs": runs,
                "worker": worker,
                "bare": bare,
                "stage_us_per_record": stage_us,
                "cpu_outside_stage_us_per_record": worker["cpu_us"] - stage_us,
                "cpu_ratio": worker["cpu_us"] / bare["cpu_us"],
                "throughput_ratio": worker["rate"] / bare["rate"],
            },
            indent=2,
        )
    )


def _measure(side: str, servers: str, records: int) -> Run:
    """One run in a process of its own, less what the same process costs with next to nothing to do."""
    idle = _timed(side, servers, PARTITIONS)
    full = _timed(side, servers, records)
    return Run(full.wall_s, full.cpu_s - idle.cpu_s, records)


def _timed(side: str, servers: str, records: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        environ = _environment(servers, Path(folder))
        settings = load_layers(environ).common()
        create_topics(settings)
        Blobs(settings.blobs).initialise()
        _fill(settings, records)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.runtime_overhead", "--side", side, "--records", str(records)],
            env=environ,
            stderr=subprocess.DEVNULL,
        )
        wall_s = _wait_for(settings, records, process)
        if side == "worker":
            process.terminate()
        process.wait(60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        delete_stream(settings)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_s, cpu_s, records)


def _wait_for(settings: CommonSettings, records: int, process: "subprocess.Popen[bytes]") -> float:
    """Seconds from the first output to the last offset. Raises RuntimeError when the process ends before that."""
    names = Names(settings.prefix)
    partitions = [Partition(names.topic("edits"), index) for index in range(PARTITIONS)]
    with Admin(settings.kafka) as admin:
        first = None
        while True:
            # Offsets count transaction markers too, so the group's offsets tell when all was consumed.
            committed = admin.group_offsets([names.group("edits")])[names.group("edits")]
            if first is None and any(admin.end_offsets(partitions).values()):
                first = time.monotonic()
            if sum(c.offset for c in committed.values()) >= records:
                return time.monotonic() - (first or time.monotonic())
            if process.poll():
                raise RuntimeError(f"the process of this side ended with {process.returncode}")
            time.sleep(0.02)


def _fill(settings: CommonSettings, records: int) -> None:
    producer = TransactionalProducer(settings.kafka, f"{settings.prefix}.fill", 60)
    topic = Names(settings.prefix).topic("captions")
    producer.begin()
    for position in range(records):
        producer.send(_message(topic, position))
    producer.commit()
    producer.close()


def _message(topic: str, position: int) -> Message:
    identity = f"bench:#{position}"
    caption = Caption(id=identity, caption_id=identity, caption="x", source="bench", position=position)
    padding = RECORD_BYTES - len(codec.encode(caption))
    caption = caption.model_copy(update={"caption": "x" * (padding + 1)})
    return Message(
        topic,
        identity.encode(),
        codec.encode(caption),
        [(headers.SCHEMA, Caption.schema_name().encode())],
        position % PARTITIONS,
    )


def _stage_seconds(records: int) -> float:
    """What the identity stage itself takes, to be left out."""
    stage = IdentityStage()
    message = _message("captions", 1)
    task = Task(codec.decode(Caption, message.value, Caption.schema_name()))
    started = time.process_time()
    for _ in range(records // BATCH):
        stage.process([task] * BATCH)
    return time.process_time() - started


def _environment(servers: str, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "IMGDIFF_PREFIX": f"bench-{uuid4().hex[:8]}",
        "IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": servers,
        "IMGDIFF_TOPICS__PARTITIONS": str(PARTITIONS),
        "IMGDIFF_BLOBS__URL": str(folder / "blobs"),
        "IMGDIFF_RUNTIME__LOCK_FOLDER": str(folder / "locks"),
        "IMGDIFF_EDITS__BATCH_SIZE": str(BATCH),
    }


def _median(values: Iterator[float]) -> float:
    return round(statistics.median(values), 1)


@contextmanager
def _broker(bootstrap: str | None) -> Iterator[str]:
    if bootstrap is not None:
        yield bootstrap
        return
    from ops.broker.local import LocalBroker

    with tempfile.TemporaryDirectory() as folder:
        broker: Any = LocalBroker(Path(folder), jars=Path(".imgdiff/jars"))
        try:
            yield broker.start(port=0).bootstrap_servers
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
