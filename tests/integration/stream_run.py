"""All six workers over a handful of captions, from empty topics to the last shard."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.runtime.faults import Step
from common.settings import load_layers, section_of
from schemas.counters import Counters
from schemas.topics import ROUTES, Route
from tests.integration.kit import Stream, WorkerProcess, wait_until
from workers.dataset.settings import DatasetSettings
from workers.dataset.shards import ShardStore

CAPTIONS = [
    "A brown dog runs across the park.",
    "A cat sleeps on a couch near the window.",
    "A red bus drives past an old church.",
    "Two friends talk on the beach.",
    "A horse stands beside a tree.",
    "A bicycle leans against a wall.",
    "A slice of pizza and a mug of coffee.",
    "The quick answer is nowhere in sight.",
    "A truck is parked near a house.",
    "A bird sits on a chair in the garden.",
    "A laptop and a book on a desk.",
    "An airplane flies over the mountain.",
    "A fish and a boat in the harbor.",
    "A woman holds an umbrella in the rain.",
    "A guitar next to a drum on a stage.",
    "A carrot and an apple in the kitchen.",
] * 2
"""Equal captions under different ids: some pass, some are rejected, whatever the seeds."""


STEPS = (
    Step.BEFORE_STORE,
    Step.AFTER_STORE,
    Step.AFTER_BEGIN,
    Step.AFTER_SENDS,
    Step.AFTER_OFFSETS,
    Step.AFTER_COMMIT,
)
"""Where every worker is killed, once: a second kill over the same record would be held against that."""


SMALL_BATCHES = {f"IMGDIFF_{section_of(route.worker).upper()}__BATCH_SIZE": "6" for route in ROUTES} | {
    "IMGDIFF_DATASET__BATCH_WAIT_S": "0.5"
}
"""So that every worker passes every step several times."""


def kill_at(step: Step) -> str:
    """The fault that kills every worker at the step, once it has got something done."""
    return ",".join(f"{route.worker}:{step}:2:SIGKILL" for route in ROUTES)


def module_of(route: Route) -> str:
    return f"workers.{route.worker.replace('-', '_')}"


@dataclass(frozen=True)
class Result:
    """What a run leaves behind, in a form that two runs can be compared in."""

    ids: Mapping[str, frozenset[str]]
    counters: Mapping[str, Counters]
    rows: tuple[str, ...]


def run(stream: Stream, workers: Mapping[str, list[WorkerProcess]], timeout_s: float = 120) -> Result:
    """Wait until everything has passed, restarting what dies, and recount all of it."""
    for route in ROUTES:
        wait_until(
            f"{route.worker} has nothing left to do",
            lambda: _revived(stream, workers) and stream.lag(route.worker, route.reads) == 0,
            timeout_s,
            0.3,
        )
    return result(stream)


def result(stream: Stream) -> Result:
    """Recount every stage; fails where an input has no outcome, or two, or the counters say something else."""
    ids: dict[str, frozenset[str]] = {}
    counters: dict[str, Counters] = {}
    for route in ROUTES:
        counted = counters[route.worker] = stream.counters(route.worker)
        if route.writes is None:
            assert counted.consumed == len(stream.read(route.reads))
            continue
        recount = stream.recount(route)
        assert recount.counters == counted, route.worker
        ids[route.worker] = frozenset(recount.ids)
        assert len(recount.ids) == counted.outputs
    rows = rows_in(shards_of(stream))
    assert len(rows) == counters["dataset"].passed
    return Result(ids, counters, rows)


def rows_of(dataset: Path) -> tuple[str, ...]:
    """The ids of all rows in the committed shards of a folder."""
    return rows_in(ShardStore(str(dataset), {}))


def rows_in(store: ShardStore) -> tuple[str, ...]:
    """The ids of all rows in committed shards, sorted; an id that stands twice is there twice."""
    found: list[str] = []
    for name in store.shards():
        with store.opened(name) as shard:
            found += shard.read(columns=["id"])["id"].to_pylist()
    return tuple(sorted(found))


def dataset_of(stream: Stream) -> DatasetSettings:
    """Where this stream's sink writes to."""
    return load_layers(stream.environ).section("dataset", DatasetSettings)


def shards_of(stream: Stream) -> ShardStore:
    dataset = dataset_of(stream)
    return ShardStore(dataset.url, dataset.options)


def start_all(stream: Stream, **faults: str) -> dict[str, list[WorkerProcess]]:
    """One process per worker; `faults` goes into the environment of the first start only."""
    return {route.worker: [stream.start(module_of(route), **faults)] for route in ROUTES}


def killed(process: WorkerProcess) -> bool:
    return process.process.poll() == -signal.SIGKILL


def _revived(stream: Stream, workers: Mapping[str, list[WorkerProcess]]) -> bool:
    """Start a killed worker again. Fails when one ended in any other way."""
    for route in ROUTES:
        processes = workers[route.worker]
        code = processes[-1].process.poll()
        if code is None:
            continue
        assert code in {-signal.SIGKILL, 0}, processes[-1].log
        processes.append(stream.start(module_of(route)))
    return True
