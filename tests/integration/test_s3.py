"""The stream on a real S3: what is set wrong is one line at the start, whatever fails later is waited out, and whoever is
killed loses nothing although the sink cannot rename."""

import json
import signal
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from uuid import uuid4

import pytest

from common.runtime.faults import Step
from tests.integration.kit import Stream, WorkerProcess, wait_until
from tests.integration.stream_run import (
    CAPTIONS,
    SMALL_BATCHES,
    Result,
    kill_at,
    killed,
    rows_in,
    run,
    shards_of,
    start_all,
)
from tests.integration.test_dataset import ROWS, SMALL, produce, qa_message
from tests.s3_server import DENIED, SLOW_DOWN, Answer, Environ, Fault, Place, S3Server, always

SINK = "workers.dataset"
SILENT = {"config_kwargs": {"connect_timeout": 1, "read_timeout": 1, "retries": {"total_max_attempts": 1}}}

NO_BUCKET = Answer("404 Not Found", "NoSuchBucket", "The specified bucket does not exist")
EXPIRED = Answer("403 Forbidden", "ExpiredToken", "The provided token has expired.")
INTERNAL = Answer("500 Internal Server Error", "InternalError", "We encountered an internal error.")


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path, s3: Place) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, environ={**SMALL, **s3.as_settings()}).create()
    yield made
    made.end()


def only_line(worker: WorkerProcess) -> str:
    [line] = worker.lines("ERROR")
    assert "Traceback" not in worker.log
    return line


@pytest.mark.long
@pytest.mark.parametrize("setting", ["blobs", "dataset"])
def test_what_is_set_wrong_is_one_line_at_the_start(stream: Stream, s3_server: S3Server, setting: str) -> None:
    variable = f"IMGDIFF_{setting.upper()}"
    mistakes = {
        "bucket": ({f"{variable}__URL": "s3://no-such-bucket/x"}, "no-such-bucket"),
        "key": ({f"{variable}__OPTIONS": json.dumps(s3_server.options(key="another"))}, "refused"),
        "endpoint": ({f"{variable}__OPTIONS": json.dumps(s3_server.options(endpoint_url="x"))}, "Invalid endpoint"),
    }
    for mistake, (environ, said) in mistakes.items():
        worker = stream.start(SINK, f"{setting}-{mistake}", **environ)
        assert worker.wait(120) == 78, worker.log
        assert f"{setting}." in only_line(worker)
        assert said in only_line(worker)
        assert str(s3_server.options()["secret"]) not in worker.log


def silent(_: Environ) -> None:
    time.sleep(1.5)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(always(SLOW_DOWN), id="503", marks=pytest.mark.long),
        pytest.param(always(INTERNAL), id="500", marks=pytest.mark.long),
        pytest.param(always(DENIED), id="403", marks=pytest.mark.long),
        pytest.param(always(EXPIRED), id="expired", marks=pytest.mark.long),
        pytest.param(always(NO_BUCKET), id="no bucket", marks=pytest.mark.long),
        pytest.param(silent, id="silent", marks=pytest.mark.long),
        pytest.param(None, id="nobody listens", marks=pytest.mark.long),
    ],
)
def test_what_fails_in_a_run_is_waited_out(stream: Stream, s3_server: S3Server, fault: Fault | None) -> None:
    """Readiness says so, and no record becomes a dead letter for it."""
    if fault is silent:
        stream.environ |= {
            f"IMGDIFF_{name}__OPTIONS": json.dumps(s3_server.options(**SILENT)) for name in ("BLOBS", "DATASET")
        }
    produce(stream)
    sink = stream.start(SINK)
    wait_until("it has begun", lambda: bool(shards_of(stream).shards()), 120)
    with s3_server.meeting(fault) if fault is not None else s3_server.down():
        wait_until("it says that it is retrying", lambda: sink.http("/readyz")[0] == 503, 120)
        assert sink.process.poll() is None
    stream.settle("dataset", "qa", 120)
    wait_until("it is ready", lambda: sink.http("/readyz")[0] == 200, 120)
    assert sink.stop() == 0
    assert stream.read("dataset.failed") == []
    assert rows_in(shards_of(stream)) == tuple(sorted(f"sample-3-{number}" for number in range(ROWS)))


@pytest.mark.long
@pytest.mark.parametrize("place", ["blobs", "dataset"])
def test_what_does_not_answer_at_the_start_is_waited_out(stream: Stream, s3_server: S3Server, place: str) -> None:
    produce(stream)
    with s3_server.meeting(lambda environ: SLOW_DOWN if f"/{place}/" in environ["PATH_INFO"] else None):
        sink = stream.start(SINK)
        wait_until("it tries again", lambda: "trying again" in sink.log, 120)
        assert sink.http("/readyz")[0] == 503
    stream.settle("dataset", "qa", 120)
    assert sink.stop() == 0
    assert len(rows_in(shards_of(stream))) == ROWS


@pytest.mark.long
def test_an_absent_picture_is_the_records_fault_on_s3_too(stream: Stream) -> None:
    stream.produce([qa_message(stream, 0, sha256="0" * 64), qa_message(stream, 1)])
    sink = stream.start(SINK)
    stream.settle("dataset", "qa", 120)
    assert sink.stop() == 0
    assert stream.counters("dataset").failed == {"image_missing": 1}
    assert len(rows_in(shards_of(stream))) == 1


STEPS = (Step.BEFORE_STORE, Step.AFTER_OFFSETS, Step.AFTER_SEAL, Step.AFTER_MOVE)
"""Where every worker is killed, once; seal and move are steps of the sink alone."""


@pytest.fixture(scope="module")
def undisturbed(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """What the same captions give in a folder, when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    stream = Stream(broker, f"test-{uuid4().hex[:12]}", folder, partitions=3, environ=dict(SMALL_BATCHES)).create()
    stream.produce_captions(CAPTIONS)
    try:
        yield run(stream, start_all(stream))
    finally:
        stream.end()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", STEPS)
def test_every_worker_killed_at_a_step(broker: str, tmp_path: Path, s3: Place, undisturbed: Result, step: Step) -> None:
    stream = Stream(broker, f"test-{uuid4().hex[:12]}", tmp_path, 3, {**SMALL_BATCHES, **s3.as_settings()}).create()
    stream.produce_captions(CAPTIONS)
    try:
        workers = start_all(stream, IMGDIFF_FAULT=kill_at(step))
        assert run(stream, workers, timeout_s=200) == undisturbed
        assert all(killed(process) for process in workers["dataset"][:-1])
        assert {signal.SIGKILL.value} == {
            -process.process.returncode for process in chain(*(each[:-1] for each in workers.values()))
        }
    finally:
        stream.end()
