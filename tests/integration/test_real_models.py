"""The whole stream on the real adapters: all workers and the sink as processes, a real broker, nothing stubbed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from common.models.protocols import EditRequest
from common.models.sketch.editor import SketchEditor
from common.words import object_changes
from schemas import codec
from schemas.qa import DifferenceQa
from schemas.topics import PAIRS, QA, ROUTES
from tests.integration.kit import ROOT, Stream, wait_until
from tests.integration.stream_run import Result, result, start_all

CAPTIONS = 20
COCO = ROOT.parent / "shared" / "data" / "coco-captions.jsonl"
"""Captions of MS COCO, where a developer has them; everybody has the project's own."""


@dataclass(frozen=True)
class Run:
    """What one run left in its topics."""

    result: Result
    answers: Mapping[str, DifferenceQa]
    failed: Mapping[str, int]

    @property
    def images(self) -> Mapping[str, set[str]]:
        """The digests of every sample's pictures, by the sample's id."""
        return {name: {ref.sha256 for ref in answer.images().values()} for name, answer in self.answers.items()}


@pytest.fixture(scope="module")
def edits() -> Mapping[str, str]:
    """Captions, each with one object replaced: what the editor has to learn."""
    editor = SketchEditor(unchanged_rate=0, chatter_rate=0, two_objects_rate=0)
    found: dict[str, str] = {}
    captions = _captions()
    requests = [EditRequest(caption, seed) for seed, caption in enumerate(captions)]
    for caption, reply in zip(captions, editor.edit(requests), strict=True):
        if reply is not None and len(object_changes(caption, reply.text)) == 1 and len(caption.split()) <= 12:
            found.setdefault(caption, reply.text)
        if len(found) == CAPTIONS:
            return found
    raise AssertionError(f"only {len(found)} captions can be edited")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, edits: Mapping[str, str]) -> Path:
    # Not above: every process that collects tests would import torch, which takes it seconds.
    from tests.tiny import stream as tiny

    return tiny.save(tmp_path_factory.mktemp("checkpoints"), edits)


@pytest.fixture
def runs(broker: str, tmp_path: Path) -> Iterator[list[Stream]]:
    streams: list[Stream] = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        streams.append(Stream(broker, f"test-{uuid4().hex[:12]}", folder, partitions=2))
    try:
        yield streams
    finally:
        for stream in streams:
            stream.end()


@pytest.mark.timeout(600)
def test_captions_become_samples(runs: list[Stream], settings: Path, edits: Mapping[str, str]) -> None:
    first = _run(runs[0], settings, list(edits))

    assert first.failed == dict.fromkeys(first.failed, 0)
    counters = first.result.counters
    assert counters["edits"].consumed == CAPTIONS
    # The editor has learnt its edits by heart: all of them are good ones.
    assert counters["edits"].passed == CAPTIONS
    for stage, following in pairwise(ROUTES):
        assert counters[stage.worker].outputs > 0, stage.worker
        assert counters[following.worker].consumed == counters[stage.worker].outputs
    for counted in counters.values():
        assert counted.consumed == counted.passed + sum(counted.rejected.values()) + sum(counted.failed.values())
    assert len(first.result.rows) >= 20

    for answer in first.answers.values():
        assert answer.edited_caption == edits[answer.caption]
        assert [step.stage for step in answer.trail] == [route.worker for route in ROUTES if route.writes]
        # What a model was and how it ran: without it nobody could tell two runs apart.
        assert all(model.revision.startswith("unlocked:") for step in answer.trail for model in step.models)
        (generator,) = next(step.models for step in answer.trail if step.stage == PAIRS.worker)
        assert generator.variant == "float32, 2 pairs of 128x128"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_second_run_makes_the_same(runs: list[Stream], settings: Path, edits: Mapping[str, str]) -> None:
    first, second = (_run(stream, settings, list(edits)) for stream in runs)

    assert len(first.result.rows) >= 20
    assert second.result.ids == first.result.ids
    assert second.result.rows == first.result.rows
    assert second.images == first.images
    texts = [{name: (a.first_description, a.second_description, a.answer) for name, a in run.answers.items()}
             for run in (first, second)]  # fmt: skip
    assert texts[0] == texts[1]


def _run(stream: Stream, settings: Path, captions: list[str]) -> Run:
    stream.create()
    stream.produce_captions(captions)
    workers = start_all(stream, IMGDIFF_SETTINGS=str(settings))
    for route in ROUTES:
        wait_until(
            f"{route.worker} has nothing left to do",
            lambda: (
                _alive(workers[route.worker][0].process.poll(), workers[route.worker][0].log)
                and stream.lag(route.worker, route.reads) == 0
            ),
            240,
            0.5,
        )
    for processes in workers.values():
        assert processes[0].stop() == 0, processes[0].log
        # No progress bars and no warnings that the libraries print themselves.
        assert processes[0].strays == []
    samples = [
        codec.decode(DifferenceQa, record.value, DifferenceQa.schema_name()) for record in stream.read(QA.worker)
    ]
    failed = {route.worker: len(stream.read(route.failed)) for route in ROUTES}
    return Run(result(stream), {sample.id: sample for sample in samples}, failed)


def _alive(code: int | None, log: str) -> bool:
    assert code is None, log
    return True


def _captions() -> list[str]:
    if COCO.exists():
        return [json.loads(line)["caption"] for line in COCO.read_text().splitlines()]
    return (ROOT / "ops" / "demo" / "captions.txt").read_text().splitlines()
