"""The pair generator: Stable Diffusion XL with Prompt-to-Prompt behind the protocol."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from pydantic import PositiveInt

from common.models.micro_batches import micro_batches
from common.models.prompt_to_prompt.batch_shape import fits_on, largest_that_fits
from common.models.prompt_to_prompt.checkpoint import load_pipeline
from common.models.prompt_to_prompt.denoiser import PairDenoiser, PromptPair, fused_attention
from common.models.prompt_to_prompt.schedule import Schedule
from common.models.prompt_to_prompt.schedulers import Scheduler, scheduler_of
from common.models.protocols import DrawnPair, PairRequest
from common.models.torch_device import device_of, dtype_of
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError, DeviceLostError, OutOfMemoryError, translated
from common.settings import ComputeSettings

_MOST_PAIRS = 16
"""As many records as a stage works on at once by default: in a larger call there would be more padding than pairs."""
_TRIAL_STEPS = 3
"""Enough for every kind of replacement that a schedule of many steps has; no step takes more memory than another."""


class PromptToPromptGenerator:
    """Draws pairs of `size` x `size` pixels, several in one batch.

    All batches of a process have one shape, padded where pairs are missing: on one machine a pair's bytes do not depend
    on what shares its batch. The shape is in `identity.variant`. A pair with values that are no numbers is black.
    """

    def __init__(
        self,
        *,
        weights: Weights,
        compute: ComputeSettings,
        steps: int = 50,
        guidance: float = 7.5,
        size: int | None = None,
        self_replace: float = 0.4,
        cross_replace: float = 1.0,
        cross_replace_words: dict[str, float] | None = None,
        scheduler: Scheduler | None = None,
        pairs_per_call: PositiveInt | None = None,
        variant: str | None = "fp16",
    ) -> None:
        """The values of the authors' code (papers.md 1.3). `self_replace`, `cross_replace` and `cross_replace_words` as
        in Schedule; `size` is the model's own if None, and `scheduler` the checkpoint's. `pairs_per_call` is the number
        of pairs in a batch; if None, the largest that fits a GPU is found at warm-up, and a CPU takes 1. `variant` is
        the part of the file names before `.safetensors`, None for files without one.

        Raises ValueError for a value out of range, ConfigurationError where the weights are missing, broken or of
        another architecture.
        """
        self._schedule = Schedule(steps, self_replace, cross_replace, cross_replace_words or {})
        self._weights, self._compute = weights, compute
        self._device = device_of(compute)
        self._pipeline = load_pipeline(weights, dtype_of(compute), self._device, variant)
        self._pipeline.scheduler = scheduler_of(self._pipeline.scheduler, scheduler)
        self._size = _side(self._pipeline, size)
        self._denoiser = PairDenoiser(self._pipeline, self._schedule, guidance, self._size)
        self._asked = pairs_per_call
        self._shape(pairs_per_call or 1)

    def warm_up(self) -> None:
        """Find the batch shape on a GPU, or try out the one that is set.

        Raises ConfigurationError where it does not fit the device.
        """
        if self._device.type != "cuda":
            return
        if self._asked is None:
            pairs = largest_that_fits(self._fits, _MOST_PAIRS)
        else:
            pairs = self._asked if self._fits(self._asked) else 0
        if not pairs:
            raise ConfigurationError(
                f"setting `models.pair_generator.options.pairs_per_call`: found no room for {self._named(self._asked or 1)} "
                f"in the memory of {self._compute.device}, expected fewer, a smaller `size`, or another `compute.dtype`"
            )
        self._shape(pairs)

    def draw(self, requests: Sequence[PairRequest]) -> list[DrawnPair]:
        """One pair per request, in order. Raises DeviceLostError where the batch shape does not fit the device any more."""
        return [pair for part in micro_batches(requests, self._pairs) for pair in self._draw(part)]

    def _draw(self, requests: Sequence[PairRequest]) -> list[DrawnPair]:
        padding = [requests[-1]] * (self._pairs - len(requests))
        try:
            latents = self._denoise([*requests, *padding])
            # One picture at a time: at full size a layer of the VAE takes 0.5 GB per picture. Padding is not decoded.
            return [
                DrawnPair(self._decode(latents[0, pair]), self._decode(latents[1, pair]))
                for pair in range(len(requests))
            ]
        except Exception as error:
            full = translated(error)
            if not isinstance(full, OutOfMemoryError):
                raise
            # Fewer records would be padded to the same shape, and it is no record's fault.
            raise DeviceLostError(
                f"{self._compute.device} has no room any more for {self._named(self._pairs)}, which is this process's "
                f"shape for good: it has to be started again, with the `pairs_per_call` that then fits ({full})"
            ) from error

    def _denoise(self, requests: Sequence[PairRequest], steps: int | None = None) -> torch.Tensor:
        prompts = [PromptPair(request.caption, request.edited_caption) for request in requests]
        noise = torch.stack([_noise(request.seed, self._denoiser.noise_shape) for request in requests])
        return self._denoiser.denoise(prompts, noise, steps)

    @torch.inference_mode()
    def _decode(self, latent: torch.Tensor) -> Image.Image:
        vae = self._pipeline.vae
        with fused_attention():
            values = vae.decode(latent[None].to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0][0]
        levels = ((values.float() / 2 + 0.5).clamp(0, 1) * 255).round()
        levels = torch.where(torch.isfinite(values).all(), levels, torch.zeros_like(levels))
        return Image.fromarray(levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy())

    def _fits(self, pairs: int) -> bool:
        def trial() -> None:
            latents = self._denoise([PairRequest("a", "b", 0)] * pairs, _TRIAL_STEPS)
            self._decode(latents[0, 0])

        return fits_on(self._device, trial)

    def _shape(self, pairs: int) -> None:
        self._pairs = pairs
        self.identity = self._weights.identity("PairGenerator", self._named(pairs))

    def _named(self, pairs: int) -> str:
        number = "1 pair" if pairs == 1 else f"{pairs} pairs"
        return f"{self._compute.dtype}, {number} of {self._size}x{self._size}"


def _noise(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal, drawn on the CPU in float32: the same for every device and for all numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _side(pipeline: Any, size: int | None) -> int:
    """The side of the pictures in pixels."""
    factor: int = pipeline.vae_scale_factor
    if size is None:
        return int(pipeline.default_sample_size) * factor
    if size < 1 or size % max(8, factor):
        raise ValueError(f"option `size`: found {size}, expected a multiple of {max(8, factor)} pixels")
    return size
