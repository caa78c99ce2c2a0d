"""The five stages one after the other in one process, without Kafka: what a record sees, its trail included."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from typing import Any

from common.blobs import encode_png
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Emit, Picture, Reject, Task
from common.settings import load_layers, section_of
from schemas.captions import Caption
from schemas.images import ImageRef
from schemas.record import Record
from schemas.topics import ROUTES
from schemas.trail import TrailStep

BATCH = 16


@dataclass(frozen=True)
class Rejection:
    """A record that a stage said no to, and what it said."""

    record: Record
    reject: Reject


@dataclass
class StageRun:
    """What one stage made of its input."""

    passed: list[Record] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


def run_chain(captions: Sequence[str], flags: Sequence[str] = ()) -> Mapping[str, StageRun]:
    """Every stage of the sketch profile over these captions, by worker."""
    layers = load_layers({}, flags=flags)
    tasks = [Task(_caption(position, text)) for position, text in enumerate(captions)]
    runs: dict[str, StageRun] = {}
    for route in ROUTES:
        if route.writes is None:
            continue
        spec: WorkerSpec[Any] = import_module(f"workers.{section_of(route.worker)}").WORKER
        stage = spec.build(layers.section(section_of(route.worker), spec.settings), layers.common())
        run = runs[route.worker] = StageRun()
        following = []
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            for task, outcome in zip(batch, stage.process(batch), strict=True):
                if isinstance(outcome, Reject):
                    run.rejected.append(Rejection(task.record, outcome))
                else:
                    following += list(_tasks_of(route.worker, task.record, outcome))
        run.passed = [task.record for task in following]
        tasks = following
    return runs


def truth_of(record: Record, stage: str) -> Mapping[str, Any]:
    """What the models of a stage knew about what they made."""
    return next(step.truth for step in record.trail if step.stage == stage)


def _tasks_of(stage: str, parent: Record, emit: Emit[Any]) -> Iterator[Task[Any]]:
    drawn = {name: encode_png(image) for name, image in emit.images.items()}
    pictures = {name: Picture(data) for name, data in drawn.items()}
    stored = {
        name: ImageRef(sha256=sha256(data).hexdigest(), width=1, height=1, byte_size=len(data))
        for name, data in drawn.items()
    }
    for index, record in enumerate(emit.records):
        step = TrailStep(
            stage=stage,
            worker_version="0",
            settings_digest="0",
            seed=emit.seed_of(index),
            scores=emit.scores_of(index),
            dropped=tuple(emit.dropped) if index == 0 else (),
            truth=dict(emit.truth_of(index)),
        )
        names = {name: getattr(image, "name", None) for name, image in record.images().items()}
        inherited = _PICTURES.get(parent.id, {})
        mine = {field: pictures[name] if name in pictures else inherited[field] for field, name in names.items()}
        complete = record.with_images(stored).model_copy(update={"trail": (*record.trail, step)})
        _PICTURES[complete.id] = mine
        yield Task(complete, mine)


_PICTURES: dict[str, dict[str, Picture]] = {}
"""The pictures of each record, as the store would give them back."""


def _caption(position: int, text: str) -> Caption:
    identity = f"chain:#{position}"
    return Caption(id=identity, caption_id=identity, caption=text, source="chain", position=position)
