"""What the models of a profile take of a GPU's memory, worker by worker: computed from their architectures, not measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.models.llava_next.room import KV_BYTES, PREFIX_BYTES
from common.settings import CommonSettings, ComputeSettings, ModelSettings, StageSettings
from ops.models.sizes import HALF, PUBLISHED, SINGLE

ROLES_OF: Mapping[str, Sequence[str]] = {
    "edits": ("caption_editor",),
    "pairs": ("pair_generator",),
    "boxes": ("image_encoder", "segmenter", "image_text_matcher"),
    "region-captions": ("region_describer", "image_text_matcher", "text_encoder"),
    "qa": ("difference_describer",),
}
"""The models that each worker loads, each worker its own copy. `qa` loads the JUDGE too where it is asked to."""

JUDGE = "naturalness_judge"

_LOADED: Mapping[str, Sequence[str]] = {"image_encoder": ("visual",), "text_encoder": ("token_embedding", "text")}
"""The parts that a role loads, where that is not all of the model."""

_WIDTHS = {"float32": SINGLE, "float16": HALF, "bfloat16": HALF}

_SINGLE = frozenset({"vae", "token_embedding"})
"""Parts that stay in float32 whatever `compute.dtype` is: SDXL's decoder overflows in float16, CLIP's words are a table."""

_SINGLE_ADAPTERS = frozenset({"fastsam"})
"""Adapters whose models do: only their convolutions are computed in 16 bits."""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory for something that is there while a worker runs, in bytes."""

    bytes: int
    what: str


def weights_of(role: str, common: CommonSettings) -> int:
    """Bytes of a role's weights on the device, not quantized. Raises KeyError for a model whose size is not known."""
    chosen: ModelSettings = getattr(common.models, role)
    assert chosen.weights is not None
    parts = PUBLISHED[chosen.weights.id].parts
    loaded = _LOADED.get(role, tuple(parts))
    return sum(parts[part] * width_of(chosen.adapter, part, common.compute) for part in loaded)


def width_of(adapter: str, part: str, compute: ComputeSettings) -> int:
    """Bytes of a number of a part on the device."""
    return SINGLE if part in _SINGLE or adapter in _SINGLE_ADAPTERS else _WIDTHS[compute.dtype]


def rooms_of(role: str, common: CommonSettings, stage: StageSettings) -> Sequence[Room]:
    """What a role's model sets aside beside its weights: nothing where no setting says how much."""
    chosen: ModelSettings = getattr(common.models, role)
    rooms = _ROOMS.get((role, chosen.adapter))
    return rooms(chosen, common, stage) if rooms is not None else ()


def _replies(chosen: ModelSettings, common: CommonSettings, stage: StageSettings) -> Sequence[Room]:
    assert chosen.weights is not None
    tokens = stage.batch_size * int(chosen.options["decoding"]["max_new_tokens"])
    kept = PUBLISHED[chosen.weights.id].kept * _WIDTHS[common.compute.dtype]
    return (Room(tokens * kept, f"keys and values of {stage.batch_size} replies, without their prompts"),)


def _region(chosen: ModelSettings, *_: Any) -> Sequence[Room]:
    batch = int(chosen.options.get("kv_bytes", KV_BYTES))
    return (
        Room(batch, "keys and values of a batch (`kv_bytes`)"),
        Room(batch, "at most for the pictures of that batch"),
        Room(int(chosen.options.get("prefix_bytes", PREFIX_BYTES)), "of pictures for the next batch (`prefix_bytes`)"),
    )


def _difference(chosen: ModelSettings, *_: Any) -> Sequence[Room]:
    return (Room(int(chosen.options.get("kv_bytes", KV_BYTES)), "keys and values of a batch (`kv_bytes`)"),)


_ROOMS: Mapping[tuple[str, str], Callable[[ModelSettings, CommonSettings, StageSettings], Sequence[Room]]] = {
    ("caption_editor", "transformers"): _replies,
    ("region_describer", "llava_next"): _region,
    ("difference_describer", "llava_next"): _difference,
}
"""By role and adapter."""
