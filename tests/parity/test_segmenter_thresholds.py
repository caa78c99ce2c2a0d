"""The two thresholds inside the segmenter, at their bounds: ultralytics compares, with the values of the profiles.

Confidence has to lie above the bound, an overlap may be as large as it (papers.md 1.5 step 2: conf 0.05, IoU 0.5).
"""

from typing import Any

import pytest
import torch

from common.models import fastsam  # noqa: F401 - ultralytics is imported as the adapter does, without its habits
from common.settings import load_layers
from tests.workers.fakes import step

PROFILES = ("paper", "code", "recipe")
CONFIDENCE, OVERLAP = 0.05, 0.5


def options_of(profile: str) -> dict[str, Any]:
    return load_layers({}, profile=profile).common().models.segmenter.options


def kept(profile: str, *segments: tuple[float, float]) -> int:
    """How many of some boxes are left that all begin in one corner and are 1 high: (width, confidence) of each."""
    from ultralytics.utils.nms import non_max_suppression

    options = options_of(profile)
    columns = [[width / 2, 0.5, width, 1.0, confidence] for width, confidence in segments]
    # One more that is sure to stay, far away, so that no call is empty.
    predictions = torch.tensor([[*columns, [500.0, 500.0, 9.0, 9.0, 0.99]]], dtype=torch.float32).transpose(1, 2)
    (found,) = non_max_suppression(predictions, conf_thres=options["confidence"], iou_thres=options["iou"], nc=1)
    return len(found) - 1


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("count", "passes"), [(-1, 0), (0, 0), (1, 1)])
def test_confidence_has_to_be_larger(profile: str, count: int, passes: int) -> None:
    assert kept(profile, (8.0, step(CONFIDENCE, count))) == passes


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("count", "boxes"), [(-1, 2), (0, 2), (1, 1)])
def test_overlap_may_be_as_large(profile: str, count: int, boxes: int) -> None:
    """One box inside another: their IoU is the share of the widths."""
    assert kept(profile, (16.0, 0.9), (16 * step(OVERLAP, count), 0.8)) == boxes
