"""Bounds on the work of every stage over its real adapters, counted on tiny checkpoints: files, decodes, vision encodes.

The published way, run over the same samples, shows that the counters see what they are there for.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import checkpoints, published, streamed
from benchmarks.material import BOXES, Material, Sample
from benchmarks.models import FAMILIES, STAGES
from benchmarks.scales import SCALES
from benchmarks.work import Work, counted

SCALE = replace(SCALES["tiny"], steps=3)
COMPUTE = SCALE.compute("cpu")
PAIRS = 2
"""Twenty boxes: the workers take sixteen at a time, so that a batch ends within the second pair."""

TILES = 5
"""Of a square picture for the tiny LLaVA: the whole, and 2 x 2 parts."""

MADE = {"edits": range(PAIRS + 1), "pairs": [PAIRS], "boxes": [5 * PAIRS], "region-captions": [20], "qa": [20]}
"""How many records leave each stage; of the random editor's replies any number may be edits."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes the checkpoints that a stage needs, each once."""
    home = tmp_path_factory.mktemp("checkpoints")

    @cache
    def write(family: str) -> None:
        checkpoints.write(family, SCALE, home / family, "cpu")

    def written(stage: str) -> Path:
        for family in FAMILIES[stage]:
            write(family)
        return home

    return written


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("material"), SCALE.side)


@pytest.fixture(scope="module")
def samples(material: Material) -> list[Sample]:
    return material.samples(0, PAIRS)


@pytest.fixture(scope="module")
def stage(folder: Callable[[str], Path], material: Material) -> Callable[[str], streamed.Loaded]:
    """A stage with its models, loaded once."""
    return cache(lambda name: streamed.load(name, folder(name), SCALE, COMPUTE, material))


@contextmanager
def nothing_left_in(*folders: Path) -> Iterator[None]:
    """Whatever writes, C libraries too, leaves the folders as they were."""
    before = [sorted(os.listdir(folder)) for folder in folders]
    yield
    assert [sorted(os.listdir(folder)) for folder in folders] == before


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence[Path]:
    """The working directory and that of temporary files, both empty."""
    found = [tmp_path / "work", tmp_path / "temporary"]
    for place in found:
        place.mkdir()
    monkeypatch.chdir(found[0])
    monkeypatch.setenv("TMPDIR", str(found[1]))
    monkeypatch.setattr(tempfile, "tempdir", str(found[1]))
    return found


@pytest.mark.parametrize(
    "name",
    # The pair generator's own tests see that it writes nothing; its checkpoint takes as long as all others.
    [pytest.param(name, marks=[pytest.mark.long] * (name == "pairs")) for name in STAGES],
)
def test_no_temporary_file_and_one_decode_per_picture(
    name: str,
    stage: Callable[[str], streamed.Loaded],
    samples: list[Sample],
    material: Material,
    places: Sequence[Path],
) -> None:
    run = stage(name)
    with nothing_left_in(*places), counted() as work:
        made = run(samples)
    assert len(made) in MADE[name]
    assert work.outside(material.results) == []
    assert work.decodes == (0 if name in {"edits", "pairs"} else 2 * PAIRS)


def work_of(run: Callable[[Sequence[Sample]], object], samples: Sequence[Sample]) -> Work:
    with counted() as work:
        run(samples)
    return work


def test_blip_sees_each_crop_once_however_many_words_it_is_held_against(
    stage: Callable[[str], streamed.Loaded], material: Material, samples: list[Sample]
) -> None:
    one, two = (len(sample.words.first) for sample in samples)
    assert (one, two) == (1, 2)
    works = [work_of(stage("boxes"), [sample]) for sample in samples]
    crops = 2 * (2 * BOXES)
    assert [work.of("blip_vision").rows for work in works] == [crops, crops]
    assert [work.of("blip_text").rows for work in works] == [2 * one, 2 * two]
    assert [work.of("clip_vision").rows for work in works] == [2 + crops] * 2
    assert [work.of("fastsam").rows for work in works] == [2, 2]


def test_region_captions_look_at_two_pictures_per_pair(
    stage: Callable[[str], streamed.Loaded], material: Material
) -> None:
    """Of pairs that the describer has not seen: it knows the last ones."""
    work = work_of(stage("region-captions"), material.samples(100, PAIRS))
    assert work.llava_encodes == 2 * PAIRS
    # A picture is one call, whose rows are its tiles: no call hides a second picture.
    assert work.of("llava_vision").rows == TILES * 2 * PAIRS
    assert work.of("blip_vision").rows == 2 * BOXES * PAIRS


def test_qa_looks_at_each_composite_once(stage: Callable[[str], streamed.Loaded], samples: list[Sample]) -> None:
    assert work_of(stage("qa"), samples).llava_encodes == BOXES * PAIRS


def test_a_batch_of_captions_is_one_reply(stage: Callable[[str], streamed.Loaded], samples: list[Sample]) -> None:
    """One pass per token for all of them."""
    language = work_of(stage("edits"), samples).of("language")
    assert language.calls <= SCALE.edit_tokens
    assert language.rows == PAIRS * language.calls


def test_the_published_way_does_what_is_bounded_here(
    folder: Callable[[str], Path], material: Material, samples: list[Sample]
) -> None:
    threads = torch.get_num_threads()
    try:
        run = published.load("boxes", folder("boxes"), SCALE, COMPUTE, material)
        work = work_of(run, samples[1:])
    finally:
        # Ultralytics sets it for the whole process.
        torch.set_num_threads(threads)
    boxes, words = 2 * BOXES, 2 + 2
    assert len(work.outside(material.results)) == 2 * boxes
    assert work.of("blip_vision").rows == boxes * words
    # The pair once for CLIP and twice for FastSAM; every crop per word, and once more for CLIP.
    assert work.decodes == 6 + boxes * words + 2 * boxes


def test_what_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with counted() as work:
        Image.new("RGB", (2, 2)).save(path)
        for _ in range(3):
            with Image.open(path) as opened:
                opened.load()
                opened.load()
        Image.open(path).close()
        with tempfile.NamedTemporaryFile(dir=tmp_path.parent) as temporary:
            pass
        path.read_bytes()
    assert work.decodes == 3
    assert work.written == [path, Path(temporary.name)]
    assert work.outside(tmp_path) == [Path(temporary.name)]
    path.write_bytes(b"")
    assert len(work.written) == 2
