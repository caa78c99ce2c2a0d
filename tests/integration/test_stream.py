"""The whole stream on the sketch profile: undisturbed, and killed everywhere, it ends in the same place."""

import shutil
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import msgpack
import pytest

from common.kafka import Message
from common.runtime.faults import Step
from schemas import headers
from schemas.headers import text_header
from schemas.topics import EDITS, PAIRS, ROUTES
from tests.integration.kit import Stream, wait_until
from tests.integration.stream_run import (
    CAPTIONS,
    SMALL_BATCHES,
    STEPS,
    Result,
    kill_at,
    killed,
    module_of,
    run,
    start_all,
)


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, partitions=3, environ=dict(SMALL_BATCHES)).create()
    yield made
    made.end()


@pytest.fixture(scope="module")
def undisturbed(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What a run gives in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    stream = Stream(broker, f"test-{uuid4().hex[:12]}", folder, partitions=3, environ=dict(SMALL_BATCHES)).create()
    stream.produce_captions(CAPTIONS)
    workers = start_all(stream)
    try:
        found = run(stream, workers)
        assert all(processes[-1].stop() == 0 for processes in workers.values())
    finally:
        stream.end()
    return found


def test_captions_become_samples_and_everything_adds_up(undisturbed: Result) -> None:
    counters = undisturbed.counters
    assert counters["edits"].consumed == len(CAPTIONS)
    assert counters["edits"].rejected
    for upstream, downstream in pairwise(ROUTES):
        assert counters[downstream.worker].consumed == counters[upstream.worker].outputs
    assert all(counted.balanced and not counted.failed for counted in counters.values())
    assert len(undisturbed.rows) > 10
    assert set(undisturbed.rows) == undisturbed.ids["qa"]


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_every_worker_killed_at_a_step(stream: Stream, undisturbed: Result, step: Step) -> None:
    stream.produce_captions(CAPTIONS)
    workers = start_all(stream, IMGDIFF_FAULT=kill_at(step))
    assert run(stream, workers) == undisturbed
    for route in ROUTES:
        assert [killed(process) for process in workers[route.worker]] == [True, False], route.worker


@pytest.mark.long
def test_every_worker_stopped_by_sigterm_and_others_joining_in_mid_run(stream: Stream, undisturbed: Result) -> None:
    stream.produce_captions(CAPTIONS)
    workers = start_all(stream)
    for route in ROUTES:
        wait_until(f"{route.worker} has begun", lambda: stream.counters(route.worker).consumed > 0)
        workers[route.worker][0].send(signal.SIGTERM)
        workers[route.worker].append(stream.start(module_of(route)))
        if route is PAIRS:
            workers["boxes"].append(stream.start("workers.boxes"))
            workers["boxes"].append(stream.start("workers.boxes"))
    assert run(stream, workers) == undisturbed
    assert workers["edits"][0].wait() == 0


@pytest.mark.long
def test_junk_in_every_topic_is_told_and_passes_nobody_by(stream: Stream) -> None:
    workers = start_all(stream)
    stream.produce_captions(CAPTIONS[:8])
    for route in ROUTES:
        topic = stream.names.topic(route.reads)
        schema = (headers.SCHEMA, f"{route.reads}/1".encode())
        stream.produce(
            [
                Message(topic, b"junk", b"\xc1\x00\xff", [schema], 0),
                Message(topic, b"none", b"\x80", [], 0),
                Message(topic, b"wrong", b"\x80", [(headers.SCHEMA, b"shoes/1")], 1),
                Message(topic, b"future", b"\x80", [(headers.SCHEMA, f"{route.reads}/2".encode())], 1),
                Message(topic, b"broken", msgpack.packb({"id": 7}), [schema, ("x", b"\xff\xfe")], 2),
                Message(topic, None, bytes(3 * 1024 * 1024), [schema], 2),
                Message(topic, b"tombstone", None, [schema], 0),
            ]
        )
    stream.produce_captions(CAPTIONS[8:16], start=8)
    found = run(stream, workers)

    assert found.counters["edits"].passed > 0
    assert found.rows
    for route in ROUTES:
        assert len(workers[route.worker]) == 1, "no worker died"
        letters = {record.key: record for record in stream.read(route.failed)}
        reasons = {key: text_header(record.headers, "dlq.reason") for key, record in letters.items()}
        assert reasons == {
            b"junk": "undecodable",
            b"none": "schema_missing",
            b"wrong": "schema_unknown",
            b"future": "schema_newer",
            b"broken": "schema_broken",
            None: "undecodable",
            b"tombstone": "undecodable",
        }
        assert len(letters[None].value or b"") == 3 * 1024 * 1024
        assert letters[b"tombstone"].value is None
        assert ("x", b"\xff\xfe") in letters[b"broken"].headers
        assert f"expected {route.reads}/1" in (text_header(letters[b"wrong"].headers, "dlq.detail") or "")


@pytest.mark.long
def test_a_missing_picture_is_told_and_its_neighbours_arrive(stream: Stream) -> None:
    stream.produce_captions(CAPTIONS)
    for route in (EDITS, PAIRS):
        worker = stream.start(module_of(route))
        stream.settle(route.worker, route.reads)
        assert worker.stop() == 0
    pairs = stream.read("pairs")
    gone = msgpack.unpackb(pairs[0].value)["first"]["sha256"]
    spoiled = msgpack.unpackb(pairs[1].value)["second"]["sha256"]
    images = stream.folder / "blobs" / "images"
    (images / gone[:2] / gone[2:4] / gone).unlink()
    (images / spoiled[:2] / spoiled[2:4] / spoiled).write_bytes(b"not what it was")

    stream.start("workers.boxes")
    stream.settle("boxes", "pairs")

    failed = stream.counters("boxes").failed
    assert failed == {"image_missing": 1, "image_corrupt": 1}
    assert stream.counters("boxes").consumed == len(pairs)


@pytest.mark.long
def test_without_its_store_the_stream_waits_and_goes_on_when_it_is_back(stream: Stream, undisturbed: Result) -> None:
    workers = start_all(stream)
    wait_until("all are ready", lambda: all(p[0].http("/readyz")[0] == 200 for p in workers.values()), 30)
    shutil.move(stream.folder / "blobs", stream.folder / "unmounted")
    stream.produce_captions(CAPTIONS)
    wait_until("somebody says so", lambda: "blobs.url" in workers["edits"][0].http("/readyz")[1], 30)
    time.sleep(2)
    assert all(not stream.counters(route.worker).failed for route in ROUTES)

    shutil.move(stream.folder / "unmounted", stream.folder / "blobs")
    assert run(stream, workers) == undisturbed
