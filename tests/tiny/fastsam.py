"""A tiny FastSAM on disk: ultralytics' own class and file format, YOLOv8-seg of the smallest size, random weights."""

from pathlib import Path

import torch
from torch import nn

# Before ultralytics: it sets what ultralytics reads while it is imported.
import common.models.fastsam  # noqa: F401

FILE = "FastSAM-x.pt"
IMAGE_SIZE = 256
"""Small enough for a CPU; the published one is 1024."""


def save(folder: Path, seed: int = 0, architecture: str = "yolov8n-seg.yaml") -> None:
    """Write `FastSAM-x.pt` in half precision, as the trainer leaves it.

    Its class scores have no bias: they would begin so that hardly anything is a thing. Without it dozens of boxes pass a
    confidence of 0.05.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = _model(seed, architecture)
    torch.save(
        {
            "epoch": -1,
            "best_fitness": None,
            "model": model.half(),
            "ema": None,
            "optimizer": None,
            "train_args": model.args,
        },
        folder / FILE,
    )


def _model(seed: int, architecture: str) -> nn.Module:
    from ultralytics.nn.tasks import SegmentationModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SegmentationModel(architecture, ch=3, nc=1, verbose=False)
        _settle(model)
    for scores in model.model[-1].cv3:
        scores[-1].bias.data.zero_()
    model.names = {0: "object"}
    model.task = "segment"
    model.args = {"task": "segment", "imgsz": IMAGE_SIZE}
    return model.eval()


def _settle(model: nn.Module) -> None:
    """Let the batch norms measure what flat patches of colour give: with their initial statistics every picture would fade
    to the same."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    model.train()
    with torch.no_grad():
        model(nn.functional.interpolate(torch.rand(8, 3, 6, 6), size=(128, 128)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
