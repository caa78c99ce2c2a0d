"""Checkpoints that are not what they should be."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from tests.tiny import clip, fastsam, llama


class Payload:
    """Unpickled without limits it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


def truncated(folder: Path) -> Path:
    clip.save(folder)
    path = folder / "open_clip_model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    return folder


def malicious(folder: Path, target: Path) -> Path:
    """The payload beside a model that is as it should be."""
    fastsam.save(folder)
    path = folder / fastsam.FILE
    checkpoint = torch.load(path, weights_only=False)
    torch.save({**checkpoint, "date": Payload(target)}, path)
    return folder


def set_off(folder: Path) -> None:
    """Unpickle a malicious checkpoint without limits."""
    torch.load(folder / fastsam.FILE, weights_only=False)


def another(folder: Path) -> Path:
    """A chat model where BLIP belongs, with every file that is asked for by name."""
    llama.save(folder)
    for name in ("preprocessor_config.json", "vocab.txt"):
        (folder / name).write_text("{}")
    return folder


def whole(folder: Path) -> Path:
    clip.save(folder)
    return folder
