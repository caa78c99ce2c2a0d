"""A tiny CLIP on disk, as open_clip's models lie on the hub: random weights, the real vocabulary."""

import json
from pathlib import Path
from typing import Any

import open_clip
from safetensors.torch import save_file

from tests.tiny.drawing import draw_weights

MODEL: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "head_width": 12, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
}

_PREPROCESSING = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def save(folder: Path, seed: int = 0) -> None:
    """Writes `open_clip_config.json` and `open_clip_model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = open_clip.CLIP(**MODEL)
    draw_weights(clip, seed, gain=1.5)
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    save_config(folder, MODEL)


def save_config(folder: Path, model: dict[str, Any]) -> None:
    """Writes `open_clip_config.json` for that architecture."""
    config = {"model_cfg": model, "preprocess_cfg": _PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=4))
