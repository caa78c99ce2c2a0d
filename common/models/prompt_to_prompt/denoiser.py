"""From noise and prompts to latents: the loop of diffusers' pipeline with the attention layers edited."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from common.models.prompt_to_prompt.alignment import tokenise
from common.models.prompt_to_prompt.attention import EditedAttention
from common.models.prompt_to_prompt.edits import PairEdits, edits_of
from common.models.prompt_to_prompt.schedule import Schedule

_FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
"""The attentions that hold no map. Where none of them serves it is an error: the plain one's map of a layer of 64 x 64
tokens and 10 heads takes 1.3 GB per pair in float16."""


def fused_attention() -> AbstractContextManager[None]:
    """Within it no attention of torch writes a map."""
    return sdpa_kernel(_FUSED)


@dataclass(frozen=True, slots=True)
class PromptPair:
    """What the two pictures of a pair show."""

    base: str
    edited: str


class PairDenoiser:
    """Denoises pairs with a pipeline of Stable Diffusion XL, in the pipeline's numbers and on its device.

    The pipeline is the denoiser's from then on: its attention layers are replaced. `size` is the side of the pictures
    in pixels. At a guidance of 1 or less there is no unconditional half.
    """

    def __init__(self, pipeline: Any, schedule: Schedule, guidance: float, size: int) -> None:
        self._pipeline = pipeline
        self._schedule = schedule
        self._guidance = guidance
        self._size = size
        self._attention = EditedAttention()
        pipeline.unet.set_attn_processor(self._attention)
        pipeline.set_progress_bar_config(disable=True)

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """Of the latents of one picture: channels, height, width."""
        side = self._size // self._pipeline.vae_scale_factor
        return (self._pipeline.unet.config.in_channels, side, side)

    @torch.inference_mode()
    def denoise(self, prompts: Sequence[PromptPair], noise: torch.Tensor, steps: int | None = None) -> torch.Tensor:
        """The latents of all base pictures and of all edited ones: shape (2, pairs, *noise_shape).

        `noise` has shape (pairs, *noise_shape), standard normal; both pictures of a pair start from it. A trial takes
        fewer `steps` than the schedule has.
        """
        schedule = self._schedule if steps is None else replace(self._schedule, steps=steps)
        edits = self._edits(schedule, prompts)
        order = self._pipeline.scheduler.order

        def go_on(_: Any, call: int, *__: Any) -> dict[str, Any]:
            # A scheduler of a higher order calls the UNet several times in a step.
            self._attention.edit = edits.at((call + 1) // order)
            return {}

        self._attention.edit = edits.at(0)
        try:
            with fused_attention():
                latents = self._pipeline(
                    [*(pair.base for pair in prompts), *(pair.edited for pair in prompts)],
                    height=self._size,
                    width=self._size,
                    num_inference_steps=schedule.steps,
                    guidance_scale=self._guidance,
                    latents=torch.cat([noise, noise]).to(self._pipeline.unet.device, self._pipeline.unet.dtype),
                    output_type="latent",
                    callback_on_step_end=go_on,
                    callback_on_step_end_tensor_inputs=[],
                ).images
        finally:
            self._attention.edit = None
        return latents.unflatten(0, (2, len(prompts)))

    def _edits(self, schedule: Schedule, prompts: Sequence[PromptPair]) -> PairEdits:
        # Both of the model's tokenisers split alike, and the features of their encoders stand side by side.
        tokenizer = self._pipeline.tokenizer
        return edits_of(
            schedule,
            self_tokens=ceil(self._size / 32) ** 2,
            pairs=[(tokenise(tokenizer, pair.base), tokenise(tokenizer, pair.edited)) for pair in prompts],
            length=tokenizer.model_max_length,
            like=next(self._pipeline.unet.parameters()),
        )
