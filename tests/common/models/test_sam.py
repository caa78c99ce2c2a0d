"""SAM and SAM 2: boxes against the masks that transformers' own pipeline gives, options, and broken weights."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from common.models import registry
from common.models.sam import SamSegmenter
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings, load_layers
from schemas.geometry import Box
from tests.tiny import sam as tiny
from tests.tiny.pictures import patches

SIZES = [(128, 96), (90, 200), (128, 96)]

Corners = Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Saved:
    """A checkpoint, and the model built from it."""

    folder: Path
    segmenter: SamSegmenter


@pytest.fixture(
    scope="module",
    params=[(tiny.save, 1), (tiny.save_2, 0), (tiny.save_2_video, 1)],
    ids=["sam", "sam2", "sam2_video"],
)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("sam")
    save, seed = request.param
    save(folder, seed)
    return Saved(folder, built(folder))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first SAM alone, for what does not depend on the family."""
    folder = tmp_path_factory.mktemp("plain")
    tiny.save(folder, seed=1)
    return folder


@pytest.fixture
def own(plain: Path, tmp_path: Path) -> Path:
    """A copy of the weights to break."""
    shutil.copytree(plain, tmp_path / "own")
    return tmp_path / "own"


def built(folder: Path, compute: ComputeSettings | None = None, **options: Any) -> SamSegmenter:
    return SamSegmenter(Weights("owner/sam", "abc", folder), compute or ComputeSettings(), **{**tiny.OPEN, **options})


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        built(folder)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith("weights of owner/sam")
    return line


@cache
def theirs(folder: Path) -> Any:
    """The library's own pipeline."""
    return pipeline("mask-generation", model=str(folder), device="cpu")


def around_masks(folder: Path, image: Image.Image, **options: Any) -> Corners:
    """For each mask that the library's pipeline gives the smallest box that holds all its pixels."""
    settings = {**tiny.OPEN, **options}
    settings["points_per_crop"] = settings.pop("points_per_side")
    boxes = []
    for mask in theirs(folder)(image, **settings)["masks"]:
        rows, columns = np.nonzero(np.asarray(mask))
        if len(rows):
            boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return boxes


def corners_of(boxes: Sequence[Box]) -> Corners:
    return [(box.x0, box.y0, box.x1, box.y1) for box in boxes]


def test_boxes_hold_the_pixels_of_the_masks(saved: Saved) -> None:
    pictures = [patches(seed, size) for seed, size in enumerate(SIZES)]
    found = saved.segmenter.segment(pictures)
    for boxes, picture, other in zip(found, pictures, [pictures[2], *pictures[1:]], strict=True):
        assert len(boxes) > 5
        assert {(box.width, box.height) for box in boxes} == {picture.size}
        assert corners_of(boxes) == around_masks(saved.folder, picture)
        if other is not picture:
            assert corners_of(boxes) != around_masks(saved.folder, other)
    assert len({corners for boxes in found for corners in corners_of(boxes)}) > 10, "random boxes that say nothing"


@pytest.mark.parametrize(
    "option",
    [
        {"points_per_side": 3},
        {"pred_iou_thresh": 0.1},
        {"stability_score_thresh": 0.8},
        {"crops_nms_thresh": 0.8},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_mean_what_they_mean_to_transformers(plain: Path, option: dict[str, Any]) -> None:
    picture = patches(0, (128, 96))
    (boxes,) = built(plain, **option).segment([picture])
    assert 0 < len(boxes) < len(around_masks(plain, picture))
    assert corners_of(boxes) == around_masks(plain, picture, **option)


def test_points_go_to_the_model_in_batches_that_change_nothing(plain: Path) -> None:
    picture = patches(0, (128, 96))
    by_five = built(plain, points_per_batch=5)
    assert by_five.identity.variant == "float32, 5 points per batch"
    assert sorted(corners_of(by_five.segment([picture])[0])) == sorted(corners_of(built(plain).segment([picture])[0]))


def test_a_picture_is_encoded_once_for_all_its_points(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = built(saved.folder, points_per_batch=4)
    model = segmenter._boxes_of.model
    encode, seen = model.get_image_embeddings, []
    monkeypatch.setattr(model, "get_image_embeddings", lambda pixels: [seen.append(pixels.shape), encode(pixels)][1])
    segmenter.segment([patches(0, (128, 96)), patches(1, (64, 64))])
    assert seen == [(1, 3, tiny.SIDE, tiny.SIDE)] * 2


def test_no_pictures_and_pictures_without_segments(saved: Saved) -> None:
    assert saved.segmenter.segment([]) == []
    assert built(saved.folder, pred_iou_thresh=1e6).segment([patches(0, (128, 96)), patches(1, (40, 30))]) == [[], []]


def test_an_empty_mask_is_no_box(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline gives it the box of the first pixel."""
    segmenter = built(plain)
    model = segmenter._boxes_of.model
    forward = model.forward

    def without_one_of_three(*arguments: Any, **values: Any) -> Any:
        output = forward(*arguments, **values)
        output["pred_masks"][:, :, 0] = -1e3
        return output

    picture = patches(0, (128, 96))
    before = segmenter.segment([picture])[0]
    monkeypatch.setattr(model, "forward", without_one_of_three)
    assert len(segmenter.segment([picture])[0]) == len(before) * 2 // 3


def test_the_same_call_gives_the_same_boxes(saved: Saved) -> None:
    pictures = [patches(0, (64, 48)), patches(1, (40, 60))]
    found = saved.segmenter.segment(pictures)
    assert found == built(saved.folder).segment(pictures)
    assert found == [saved.segmenter.segment([picture])[0] for picture in pictures]


def test_an_orientation_beside_the_pixels_turns_nothing(plain: Path) -> None:
    turned = patches(0, (128, 96))
    turned.getexif()[0x0112] = 6
    segmenter = built(plain)
    assert segmenter.segment([turned]) == segmenter.segment([patches(0, (128, 96))])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits(saved: Saved, dtype: Any) -> None:
    half = built(saved.folder, ComputeSettings(dtype=dtype))
    assert half.identity.variant == f"{dtype}, 64 points per batch"
    assert half._boxes_of.model.dtype is getattr(torch, dtype)
    picture = patches(0, (128, 96))
    exact, found = saved.segmenter.segment([picture])[0], half.segment([picture])[0]
    assert np.mean([max(box.iou(other) for other in found) > 0.9 for box in exact]) > 0.8


def test_who_it_is(saved: Saved) -> None:
    identity = saved.segmenter.identity
    assert (identity.role, identity.id, identity.revision) == ("Segmenter", "owner/sam", "abc")


def from_settings(folder: Path, *options: str) -> Any:
    models = "models.segmenter"
    settings = [f"{models}.adapter=sam", f"{models}.weights.id=owner/sam", f"{models}.weights.path={folder}"]
    settings += [f"{models}.options.{option}" for option in options]
    return registry.segmenter(load_layers({}, flags=settings).common())


def test_the_registry_builds_and_warms_it_up(plain: Path) -> None:
    segmenter = from_settings(plain, *(f"{name}={value}" for name, value in tiny.OPEN.items()))
    picture = patches(0, (128, 96))
    assert segmenter.segment([picture]) == built(plain).segment([picture])


@pytest.mark.parametrize("wrong", ["points_per_side=0", "points_per_batch=0", "crops_nms_thresh=1.1", "file=a.pt"])
def test_options_out_of_range_are_refused(plain: Path, wrong: str) -> None:
    name, _, _ = wrong.partition("=")
    with pytest.raises(ConfigurationError, match=rf"^setting `models\.segmenter\.options`: .*`{name}`"):
        from_settings(plain, wrong)


def test_a_device_that_is_not_there_is_refused(plain: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"`compute\.device`: found 'cuda:63'"):
        built(plain, ComputeSettings(device="cuda:63"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_missing_file_is_refused(own: Path, name: str) -> None:
    (own / name).unlink()
    assert str(own) in refusal(own)


def test_a_truncated_file_is_refused(own: Path) -> None:
    os.truncate(own / "model.safetensors", 1_000)
    assert str(own) in refusal(own)


def test_a_pickle_is_never_read(own: Path) -> None:
    (own / "model.safetensors").rename(own / "away")
    torch.save({}, own / "pytorch_model.bin")
    assert "model.safetensors" in refusal(own)


def test_weights_of_another_model_are_refused(own: Path, tmp_path: Path) -> None:
    tiny.save_2(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", own)
    assert "lacks tensors of the model" in refusal(own)


def test_other_architectures_are_refused(own: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    CLIPVisionModel(config).save_pretrained(own)
    assert "CLIPVisionConfig" in refusal(own)


@pytest.mark.long
def test_it_does_without_ultralytics() -> None:
    code = "import sys, common.models.sam; print([name for name in sys.modules if name.startswith('ultralytics')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
