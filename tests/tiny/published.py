"""The names that tensors have in the published files, where this transformers writes others and has to translate them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

NOTHING: Mapping[str, torch.Tensor] = {}


def rename_tensors(path: Path, name: Callable[[str], str], added: Mapping[str, torch.Tensor] = NOTHING) -> None:
    """Write a file of safetensors again, with other names and what else the published file holds."""
    tensors = {name(own): tensor.clone() for own, tensor in load_file(path).items()}
    save_file({**tensors, **added}, path, metadata={"format": "pt"})
