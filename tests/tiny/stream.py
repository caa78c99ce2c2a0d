"""Everything that the whole stream needs to run on real adapters: a tiny checkpoint per model, and settings that name them.

The models are random, so no threshold of a profile means anything to them: every filter's bounds are opened, and what the
stages make of their scores is for other tests. The editor alone knows what it does: it has learnt its edits by heart.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.models.prompts import Prompt
from common.settings import load_layers
from tests.tiny import blip, clip, fastsam, llava, overfitted, sdxl

PROFILE = "paper"
OPEN: Mapping[str, str] = {"low": "none", "high": "none"}

OPENED: Mapping[str, Mapping[str, Any]] = {
    "boxes": {"pair_similarity": OPEN, "crop_similarity": OPEN, "object_match": OPEN, "batch_size": 4},
    "region_captions": {"text_match": OPEN, "text_similarity": OPEN, "batch_size": 8},
    "edits": {"batch_size": 10},
    "pairs": {"batch_size": 4},
    "qa": {"batch_size": 8},
}
"""The filters that random models can not pass, and batches that make several of each stage."""


def save(folder: Path, edits: Mapping[str, str]) -> Path:
    """Write all checkpoints, and a file of settings, whose path is returned."""
    layers = load_layers({}, profile=PROFILE)
    editor = layers.values["models"]["caption_editor"]["options"]
    overfitted.save(folder / "editor", Prompt(**editor["prompt"]), editor["template"], edits)
    for name, family in {"sdxl": sdxl, "clip": clip, "fastsam": fastsam, "blip": blip, "llava": llava}.items():
        family.save(folder / name)
    # Settings are TOML, and so is every JSON value but null; tables are written inline.
    path = folder / "settings.toml"
    path.write_text("".join(f"{key} = {_inline(value)}\n" for key, value in _settings(folder).items()))
    return path


def _settings(folder: Path) -> Mapping[str, Any]:
    def of(name: str, **options: Any) -> Mapping[str, Any]:
        return {"weights": {"id": f"tiny/{name}", "path": str(folder / name)}, "options": options}

    greedy = {"temperature": 0.0, "max_new_tokens": 12}
    return {
        "profile": PROFILE,
        "compute": {"device": "cpu", "dtype": "float32"},
        "models": {
            "caption_editor": of("editor", decoding={"temperature": 0.0, "max_new_tokens": 96}),
            "pair_generator": of("sdxl", steps=4, pairs_per_call=2),
            "image_encoder": of("clip", images_per_call=16),
            "text_encoder": of("clip", texts_per_call=16),
            "segmenter": of("fastsam", image_size=fastsam.IMAGE_SIZE, images_per_call=2),
            "image_text_matcher": of("blip", images_per_call=16, texts_per_call=16),
            "region_describer": of("llava", decoding=greedy),
            "difference_describer": of("llava", decoding=greedy),
        },
        **OPENED,
    }


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
