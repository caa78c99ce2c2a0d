"""Boxes against ultralytics' own front door, `FastSAM.predict`, one picture at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.models.fastsam import FastSamSegmenter
from common.models.weights import Weights
from common.settings import ComputeSettings
from schemas.geometry import Box
from tests.tiny import fastsam as tiny
from tests.tiny.pictures import patches

TOLERANCE = 1e-5
"""Relative: pictures that share a batch are convolved by other routines than one alone."""

SIZES = [(128, 96), (200, 120), (128, 96), (96, 128), (300, 300), (128, 96), (33, 500)]

Corners = Sequence[Sequence[float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fastsam")
    tiny.save(folder)
    return folder


@pytest.fixture(scope="module")
def fastsam(folder: Path) -> Iterator[Any]:
    """Ultralytics' FastSAM; on a CPU it sets the number of threads of the whole process."""
    from ultralytics import FastSAM

    threads = torch.get_num_threads()
    yield FastSAM(folder / tiny.FILE)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [patches(seed, size) for seed, size in enumerate(SIZES)]


def segmenter(folder: Path, **options: Any) -> FastSamSegmenter:
    return FastSamSegmenter(
        Weights("owner/fastsam", "main", folder), ComputeSettings(), **{"image_size": tiny.IMAGE_SIZE, **options}
    )


def expected(fastsam: Any, source: Any, **options: Any) -> Corners:
    """The boxes that the reference gives."""
    settings = {"conf": 0.05, "iou": 0.5, "imgsz": tiny.IMAGE_SIZE, "retina_masks": True, **options}
    (result,) = fastsam.predict(source, device="cpu", verbose=False, **settings)
    corners: Corners = result.boxes.xyxy.tolist()
    return corners


def corners_of(boxes: Sequence[Box]) -> Corners:
    return [(box.x0, box.y0, box.x1, box.y1) for box in boxes]


def difference(found: Corners, reference: Corners) -> float:
    """Relative error; infinite where there are more or fewer boxes."""
    assert reference, "nothing to compare with"
    if len(found) != len(reference):
        return float("inf")
    return float(np.abs(np.subtract(found, reference)).max() / np.abs(reference).max())


def test_one_picture_at_a_time_gives_the_very_same_boxes(
    folder: Path, fastsam: Any, pictures: list[Image.Image]
) -> None:
    found = segmenter(folder, images_per_call=1).segment(pictures)
    for boxes, picture in zip(found, pictures, strict=True):
        assert len(boxes) > 10
        assert corners_of(boxes) == [tuple(corners) for corners in expected(fastsam, picture)]


def test_pictures_of_several_sizes_in_one_call_give_the_boxes_of_each_alone(
    folder: Path, fastsam: Any, pictures: list[Image.Image]
) -> None:
    references = [expected(fastsam, picture) for picture in pictures]
    found = [corners_of(boxes) for boxes in segmenter(folder, images_per_call=2).segment(pictures)]
    for boxes, reference, other in zip(found, references, references[1:] + references[:1], strict=True):
        assert difference(boxes, reference) < TOLERANCE
        assert difference(boxes, other) > 100 * TOLERANCE


def test_swapped_channels_are_the_authors_rgb_array(folder: Path, fastsam: Any, pictures: list[Image.Image]) -> None:
    """An array counts as BGR, and the authors' is RGB."""
    picture = pictures[0]
    swapped = expected(fastsam, np.asarray(picture))
    (boxes,) = segmenter(folder, swap_channels=True).segment([picture])
    assert difference(corners_of(boxes), swapped) < TOLERANCE
    assert difference(expected(fastsam, picture), swapped) > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("options", "reference"),
    [({"confidence": 0.55}, {"conf": 0.55}), ({"iou": 0.2}, {"iou": 0.2}), ({"image_size": 320}, {"imgsz": 320})],
)
def test_options_mean_what_they_mean_to_ultralytics(
    folder: Path, fastsam: Any, pictures: list[Image.Image], options: Any, reference: Any
) -> None:
    picture = pictures[0]
    changed = expected(fastsam, picture, **reference)
    (boxes,) = segmenter(folder, **options).segment([picture])
    assert difference(corners_of(boxes), changed) < TOLERANCE
    assert difference(expected(fastsam, picture), changed) > 100 * TOLERANCE


def test_boxes_without_a_mask_are_dropped_at_the_picture_s_own_resolution(folder: Path, fastsam: Any) -> None:
    """Which these are depends on the resolution that masks are made at."""
    picture = patches(1, (128, 96))
    (boxes,) = segmenter(folder).segment([picture])
    coarse = expected(fastsam, picture, retina_masks=False)
    assert difference(corners_of(boxes), expected(fastsam, picture)) < TOLERANCE
    assert difference(corners_of(boxes), coarse) > 100 * TOLERANCE


def test_the_defaults_are_the_published_settings(folder: Path, fastsam: Any, pictures: list[Image.Image]) -> None:
    segment = FastSamSegmenter(Weights("owner/fastsam", "main", folder), ComputeSettings()).segment
    (boxes,) = segment(pictures[:1])
    assert difference(corners_of(boxes), expected(fastsam, pictures[0], imgsz=1024)) < TOLERANCE
