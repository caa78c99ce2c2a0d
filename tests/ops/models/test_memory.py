"""What is said of GPU memory is what workers load, in the numbers in which adapters load it, and what their options bound."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from common.models import registry
from common.models.blip import BlipItcMatcher
from common.models.clip import ClipImageEncoder, ClipTextEncoder
from common.models.fastsam import FastSamSegmenter
from common.models.llava_next.difference_describer import LlavaNextDifferenceDescriber
from common.models.llava_next.model import LlavaNext
from common.models.llava_next.region_describer import LlavaNextRegionDescriber
from common.models.llava_next.room import KV_BYTES, PREFIX_BYTES
from common.models.prompt_to_prompt.batch_shape import _ROOM
from common.models.prompt_to_prompt.generator import _MOST_PAIRS, PromptToPromptGenerator
from common.models.protocols import MatchScale
from common.models.weights import Weights
from common.settings import CommonSettings, ComputeSettings, StageSettings, load_layers, section_of
from ops.docs.gpu_memory import gpu_memory_page
from ops.models.memory import JUDGE, ROLES_OF, rooms_of, weights_of, width_of
from ops.models.sizes import WHOLE
from ops.workers import WORKERS, spec_of
from tests.tiny import blip, clip, fastsam, llava, sdxl

GIB = 2**30
HALF = ComputeSettings(dtype="float16")


def common_of(*flags: str) -> CommonSettings:
    return load_layers({}, flags=flags, profile="paper").common()


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("worker", WORKERS)
def test_the_roles_of_a_worker_are_those_that_it_loads(
    worker: str, judged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def build(role: str, settings: CommonSettings) -> Any:
        asked.append(role)
        return MagicMock(scale=MatchScale.ITC_COSINE)

    monkeypatch.setattr(registry, "_build", build)
    layers = load_layers({}, flags=[f"qa.check_naturalness={str(judged).lower()}"], profile="paper")
    spec = spec_of(worker)
    spec.build(layers.section(section_of(worker), spec.settings), layers.common())
    also = [JUDGE] if judged and worker == "qa" else []
    assert sorted(asked) == sorted([*ROLES_OF.get(worker, ()), *also])


# Weights


def of_sdxl(weights: Weights) -> Mapping[str, Any]:
    pipeline = PromptToPromptGenerator(weights=weights, compute=HALF)._pipeline
    return {part: getattr(pipeline, part) for part in ("unet", "vae", "text_encoder", "text_encoder_2")}


def of_text_tower(weights: Weights) -> Mapping[str, Any]:
    tower = ClipTextEncoder(weights, HALF).tower
    return {"token_embedding": tower.token_embedding, "text": tower.transformer}


LOADED: Mapping[str, tuple[Callable[[Path], None], Callable[[Weights], Mapping[str, Any]]]] = {
    "prompt_to_prompt": (sdxl.save, of_sdxl),
    "clip": (clip.save, lambda weights: {"visual": ClipImageEncoder(weights, HALF).tower, **of_text_tower(weights)}),
    "fastsam": (fastsam.save, lambda weights: {WHOLE: FastSamSegmenter(weights, HALF)._predictor.model.model}),
    "blip_itc": (blip.save, lambda weights: {WHOLE: BlipItcMatcher(weights, HALF).model}),
    "llava_next": (llava.save, lambda weights: {WHOLE: LlavaNext(weights, HALF).model}),
}
"""By adapter: what writes a tiny checkpoint, and what is then loaded of each part."""


@pytest.mark.parametrize("adapter", LOADED)
def test_numbers_are_as_wide_as_the_adapter_loads_them(adapter: str, tmp_path: Path) -> None:
    """Most of them: layer norms and places stay in float32 here and there."""
    save, load = LOADED[adapter]
    save(tmp_path)
    for part, module in load(Weights("tiny/tiny", "abc", tmp_path)).items():
        tensors = list(module.parameters())
        widths = [tensor.itemsize for tensor in tensors for _ in range(tensor.numel() // 16)]
        assert max(set(widths), key=widths.count) == width_of(adapter, part, HALF), part


@pytest.mark.parametrize(
    ("role", "gib"),
    # Numbers by bytes, over 2^30.
    [
        ("caption_editor", 13.016e9 * 2 / GIB),
        ("pair_generator", ((2567.5e6 + 123.1e6 + 694.7e6) * 2 + 83.7e6 * 4) / GIB),
        ("image_encoder", 87.8e6 * 2 / GIB),
        ("text_encoder", (25.3e6 * 4 + 38.1e6 * 2) / GIB),
        ("segmenter", 71.8e6 * 4 / GIB),
        ("image_text_matcher", 446.1e6 * 2 / GIB),
        ("region_describer", 13.351e9 * 2 / GIB),
    ],
)
def test_weights_of_the_paper(role: str, gib: float) -> None:
    assert weights_of(role, common_of()) / GIB == pytest.approx(gib, rel=2e-3)


def test_in_float32_they_are_twice_as_large() -> None:
    whole = common_of("compute.dtype=float32")
    assert weights_of("caption_editor", whole) == 2 * weights_of("caption_editor", common_of())
    assert weights_of("segmenter", whole) == weights_of("segmenter", common_of())


# What is added


def test_the_defaults_are_those_of_the_describers() -> None:
    region = signature(LlavaNextRegionDescriber).parameters
    assert (region["kv_bytes"].default, region["prefix_bytes"].default) == (KV_BYTES, PREFIX_BYTES)
    assert signature(LlavaNextDifferenceDescriber).parameters["kv_bytes"].default == KV_BYTES


def room(role: str, stage: StageSettings, *flags: str) -> int:
    return sum(room.bytes for room in rooms_of(role, common_of(*flags), stage))


def test_what_is_added_follows_the_settings() -> None:
    stage = StageSettings()
    assert room("region_describer", stage) == 2 * KV_BYTES + PREFIX_BYTES
    options = "models.region_describer.options"
    assert room("region_describer", stage, f"{options}.kv_bytes=1000", f"{options}.prefix_bytes=10") == 2010
    assert room("difference_describer", stage, "models.difference_describer.options.kv_bytes=1000") == 1000
    assert room("caption_editor", StageSettings(batch_size=1)) * 16 == room("caption_editor", stage)
    # 128 tokens, keys and values of 40 layers of 5,120, in 2 bytes.
    assert room("caption_editor", StageSettings(batch_size=1)) == 128 * 2 * 40 * 5120 * 2
    assert room("image_text_matcher", stage) == 0


# The page


def test_the_page_says_how_pairs_fits_its_batch() -> None:
    said = " ".join(gpu_memory_page().split())
    assert f"the largest batch, of at most {_MOST_PAIRS} pairs, that fits into {_ROOM:.0%}".replace("%", " %") in said
    assert "**Computed, not measured.**" in said
    assert "start `pairs` last, or set its batch size" in said


def test_the_page_adds_up() -> None:
    rows = [line.split(" | ") for line in gpu_memory_page().partition("## `paper`")[2].splitlines()[4:11]]
    weights = {row[0].strip("|` "): float(row[2].removesuffix(" GiB")) for row in rows}
    total = weights.pop("all on one device")
    assert list(weights)[: len(ROLES_OF)] == list(ROLES_OF)
    assert total == pytest.approx(sum(weights[worker] for worker in ROLES_OF), abs=0.3)
    # More than a card of 80 GB has, as the README says.
    assert total * GIB > 80e9
