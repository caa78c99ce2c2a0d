"""Prompt-to-Prompt with fused attentions against explicit attention maps, from the noise to latents and pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from common.models.prompt_to_prompt import denoiser as module
from common.models.prompt_to_prompt.denoiser import PairDenoiser, PromptPair
from common.models.prompt_to_prompt.edits import PairEdits, edits_of
from common.models.prompt_to_prompt.generator import PromptToPromptGenerator
from common.models.prompt_to_prompt.schedule import Schedule
from common.models.prompt_to_prompt.schedulers import Scheduler, scheduler_of
from common.models.protocols import PairRequest
from common.models.weights import Weights
from common.settings import ComputeSettings
from tests.parity.p2p_reference import Prompts, Settings, plain_pair, reference_pair
from tests.tiny import sdxl

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-7}
CONTROL = 100 * TOLERANCE[torch.float32]

_PLATES = ", ".join(["a table with plates and cups"] * 12)
EQUAL_LENGTH = ("a photo of a cat on a mat", "a photo of a dog on a mat")
LONGER = ("a red bus in the street next to a tree", "a double-decker in the street next to a tall old tree")
OVER_77 = (f"{_PLATES}, a lamp", f"{_PLATES.replace('table', 'wooden desk')}, a vase")
PAIRS = (EQUAL_LENGTH, LONGER, OVER_77)
SHORTER = ("a very big grey dog and a cat and a cat", "a cat and a cat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sdxl")
    sdxl.save(path)
    return path


class Model:
    """The tiny checkpoint in each precision, loaded once, and what the reference makes with it in float64."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pipeline = cache(self._load)
        self.reference = cache(self._reference)
        self.plain = cache(self._plain)

    def _load(self, dtype: torch.dtype) -> Any:
        return StableDiffusionXLPipeline.from_pretrained(
            self._folder, dtype=dtype, variant="fp16", use_safetensors=True, add_watermarker=False
        )

    def _reference(self, prompts: Prompts, scheduler: Scheduler = Scheduler.EULER, **settings: Any) -> torch.Tensor:
        with sampling(self.pipeline(torch.float64), scheduler) as pipeline:
            return reference_pair(pipeline, prompts, noise_of(prompts), Settings(**settings))

    def _plain(self, prompts: Prompts) -> torch.Tensor:
        return plain_pair(self.pipeline(torch.float64), prompts, noise_of(prompts))

    def fused(
        self,
        pairs: tuple[Prompts, ...],
        dtype: torch.dtype,
        scheduler: Scheduler = Scheduler.EULER,
        *,
        guidance: float = 7.5,
        **schedule: Any,
    ) -> torch.Tensor:
        with sampling(self.pipeline(dtype), scheduler) as pipeline:
            denoiser = PairDenoiser(pipeline, Schedule(**schedule), guidance, sdxl.SIZE)
            prompts = [PromptPair(*pair) for pair in pairs]
            return denoiser.denoise(prompts, torch.stack([noise_of(pair) for pair in pairs])).transpose(0, 1)


@contextmanager
def sampling(pipeline: Any, scheduler: Scheduler) -> Iterator[Any]:
    """The pipeline with another sampler, until the end of the block; its attention layers are put back too."""
    own, layers = pipeline.scheduler, pipeline.unet.attn_processors
    pipeline.scheduler = scheduler_of(own, scheduler)
    try:
        yield pipeline
    finally:
        pipeline.scheduler = own
        pipeline.unet.set_attn_processor(layers)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model(folder)


def noise_of(prompts: Prompts) -> torch.Tensor:
    """Of its own for each pair, whatever stands beside it."""
    return torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(len("".join(prompts))))


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The relative error of p2p.md."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def test_three_pairs_with_mappers_of_their_own(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, tolerance in TOLERANCE.items():
        found = model.fused(PAIRS, dtype)
        for latents, prompts in zip(found, PAIRS, strict=True):
            assert error(latents, model.reference(prompts)) < tolerance
    swap_mappers(monkeypatch)
    found = model.fused(PAIRS, torch.float32)
    for latents, prompts in zip(found, PAIRS, strict=True):
        assert error(latents, model.reference(prompts)) > CONTROL


def swap_mappers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives each pair of a batch the edits of the next one."""

    def swapped(schedule: Schedule, *, pairs: list[Any], **others: Any) -> PairEdits:
        return edits_of(schedule, pairs=[*pairs[1:], pairs[0]], **others)

    monkeypatch.setattr(module, "edits_of", swapped)


def test_one_pair(model: Model) -> None:
    (latents,) = model.fused((OVER_77,), torch.float32)
    assert error(latents, model.reference(OVER_77)) < TOLERANCE[torch.float32]
    assert error(model.plain(OVER_77), model.reference(OVER_77)) > CONTROL


@pytest.mark.parametrize("scheduler", [Scheduler.DDIM, Scheduler.DPM_PP_2M])
def test_other_samplers(model: Model, scheduler: Scheduler) -> None:
    for dtype, tolerance in TOLERANCE.items():
        (latents,) = model.fused((LONGER,), dtype, scheduler)
        assert error(latents, model.reference(LONGER, scheduler)) < tolerance


@pytest.mark.long
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scheduler", Scheduler)
def test_three_pairs_with_every_sampler(model: Model, scheduler: Scheduler, dtype: torch.dtype) -> None:
    found = model.fused(PAIRS, dtype, scheduler)
    for latents, prompts in zip(found, PAIRS, strict=True):
        assert error(latents, model.reference(prompts, scheduler)) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"steps": 7, "self_replace": 0.5, "cross_replace": 0.5}, id="edits that end on the way"),
        pytest.param({"steps": 7, "cross_replace_words": {"cat": 0.5, "a": 0.2}}, id="words with shares of their own"),
        pytest.param({"steps": 5, "guidance": 1.0}, id="without an unconditional half"),
        pytest.param({"steps": 3, "self_replace": 0.0, "cross_replace": 0.0}, id="nothing replaced"),
    ],
)
def test_other_settings(model: Model, settings: dict[str, Any]) -> None:
    (latents,) = model.fused((SHORTER,), torch.float64, **settings)
    with sampling(model.pipeline(torch.float64), Scheduler.EULER) as pipeline:
        expected = reference_pair(pipeline, SHORTER, noise_of(SHORTER), Settings(**settings))
        default = reference_pair(pipeline, SHORTER, noise_of(SHORTER), Settings(steps=settings["steps"]))
    assert error(latents, expected) < TOLERANCE[torch.float64]
    assert error(default, expected) > 100 * TOLERANCE[torch.float64]


def test_heun_counts_steps_not_calls(model: Model) -> None:
    """8 steps are 15 calls of the UNet: counted in calls, edits would end after half of their steps."""
    schedule: dict[str, Any] = {"steps": 8, "self_replace": 0.5, "cross_replace": 0.5}
    (latents,) = model.fused((LONGER,), torch.float64, Scheduler.HEUN, **schedule)
    with sampling(model.pipeline(torch.float64), Scheduler.HEUN) as pipeline:
        expected = reference_pair(pipeline, LONGER, noise_of(LONGER), Settings(**schedule))
        halved = reference_pair(pipeline, LONGER, noise_of(LONGER), Settings(8, self_replace=0.25, cross_replace=0.25))
    assert error(latents, expected) < TOLERANCE[torch.float64]
    assert error(halved, expected) > 100 * TOLERANCE[torch.float64]


@pytest.mark.parametrize("half", ["self_replace", "cross_replace"])
def test_without_one_of_the_replacements_the_tests_would_fail(model: Model, half: str) -> None:
    (whole,) = model.fused((LONGER,), torch.float32, steps=10)
    without: dict[str, Any] = {half: 0.0}
    (latents,) = model.fused((LONGER,), torch.float32, steps=10, **without)
    assert error(latents, whole) > CONTROL


def test_pictures(model: Model, folder: Path) -> None:
    """From the request on: seed, padding, decoder and rounding included."""
    generator = PromptToPromptGenerator(
        weights=Weights("tiny", "1", folder), compute=ComputeSettings(), steps=5, pairs_per_call=2
    )
    (pair,) = generator.draw([PairRequest(*LONGER, seed=7)])
    noise = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(7))
    pipeline = model.pipeline(torch.float32)
    expected = reference_pair(pipeline, LONGER, noise, Settings(steps=5), output_type="pil")
    control = plain_pair(pipeline, LONGER, noise, Settings(steps=5), output_type="pil")
    assert levels(pair.first, expected[0]) <= 1
    assert levels(pair.second, expected[1]) <= 1
    assert levels(pair.second, control[1]) >= 100


def levels(one: Any, other: Any) -> int:
    """The largest difference in grey levels."""
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())
