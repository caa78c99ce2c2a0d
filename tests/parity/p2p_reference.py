"""Prompt-to-Prompt (refine) as it is defined: every attention map written down, one pair at a time.

It follows the definition and the settings in p2p.md step by step, in diffusers' own pipeline, and shares no code with
`common.models.prompt_to_prompt`. The tests hold the fused attentions to it, and the benchmark compares with it.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import torch

SLOTS = 77
"""Tokens that CLIP's text encoders take."""

Prompts = tuple[str, str]
"""Of a pair: base and edited."""


@dataclass(frozen=True)
class Mapping:
    """`mapper[j]` is the place of token j of the edited prompt in the base prompt, where `alpha[j]` is 1."""

    mapper: torch.Tensor
    alpha: torch.Tensor


@dataclass(frozen=True)
class Settings:
    """The values of the authors' code."""

    steps: int = 50
    guidance: float = 7.5
    self_replace: float = 0.4
    cross_replace: float = 1.0
    cross_replace_words: dict[str, float] = field(default_factory=dict)


def mapping_of(tokenizer: Any, *prompts: str) -> Mapping:
    """Base and edited prompt, begin and end included, aligned by the recursion of Needleman and Wunsch."""
    x, y = (tokenizer(text, truncation=True, max_length=SLOTS)["input_ids"] for text in prompts)
    score = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            same = 1 if x[i - 1] == y[j - 1] else -1
            score[i][j] = max(score[i][j - 1], score[i - 1][j], score[i - 1][j - 1] + same)
    mapper = torch.arange(SLOTS)
    mapper[: len(y)] = -1
    i, j = len(x), len(y)
    while j > 0:
        if i == 0 or score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            mapper[j] = i
    return Mapping(mapper, (mapper >= 0).float())


def words_schedule(tokenizer: Any, edited: str, settings: Settings) -> torch.Tensor:
    """Shape (steps + 1, SLOTS): 1 while the word's cross-attention is replaced."""
    rows = settings.steps + 1
    schedule = torch.zeros(rows, SLOTS)
    schedule[: int(settings.cross_replace * rows)] = 1
    for word, share in settings.cross_replace_words.items():
        place = 1
        for blank_separated in edited.split(" "):
            count = len(tokenizer(blank_separated, add_special_tokens=False)["input_ids"])
            if blank_separated == word:
                schedule[:, place : place + count] = 0
                schedule[: int(share * rows), place : place + count] = 1
            place += count
    return schedule


class ExplicitMaps:
    """An attention processor that computes the map of every layer, edits it, and applies it to the values.

    The batch holds one pair: base and edited prompt, once more without condition in front of them where the guidance is
    above 1. With `keep` the maps of layers of at most 32 x 32 tokens are summed over the steps, as published code does.
    """

    def __init__(self, pipeline: Any, size: int, settings: Settings, prompts: Prompts, *, keep: bool) -> None:
        self.layers = len(pipeline.unet.attn_processors)
        self.order = pipeline.scheduler.order
        self.mapping = mapping_of(pipeline.tokenizer, *prompts)
        self.words = words_schedule(pipeline.tokenizer, prompts[1], settings)
        self.self_steps, self.self_tokens = int(settings.self_replace * settings.steps), ceil(size / 32) ** 2
        self.keep = keep
        self.kept: dict[int, torch.Tensor] = {}
        self.visits = 0

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **_: Any) -> torch.Tensor:
        step = self.visits // self.layers // self.order
        texts = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def heads(rows: torch.Tensor) -> torch.Tensor:
            return rows.reshape(rows.shape[0], rows.shape[1], attn.heads, -1).permute(0, 2, 1, 3)

        q, k, v = heads(attn.to_q(hidden_states)), heads(attn.to_k(texts)), heads(attn.to_v(texts))
        maps = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
        base, edited = maps[-2], maps[-1]
        if encoder_hidden_states is not None:
            a = self.mapping.alpha.to(maps) * self.words[step].to(maps)
            maps[-1] = base[:, :, self.mapping.mapper.to(maps.device)] * a + edited * (1 - a)
        elif step < self.self_steps and maps.shape[-1] <= self.self_tokens:
            maps[-1] = base
        if self.keep and maps.shape[-2] <= 32 * 32:
            layer = self.visits % self.layers
            self.kept[layer] = self.kept.get(layer, 0) + maps[-2:]
        self.visits += 1
        mixed = (maps @ v).permute(0, 2, 1, 3).flatten(2)
        return attn.to_out[0](mixed)


@torch.no_grad()
def reference_pair(
    pipeline: Any,
    prompts: Prompts,
    noise: torch.Tensor,
    settings: Settings | None = None,
    *,
    keep: bool = False,
    output_type: str = "latent",
) -> Any:
    """What diffusers' pipeline makes of base and edited prompt with its attention maps edited.

    Latents of shape (2, channels, height, width), or two pictures with `output_type="pil"`. `noise` has shape
    (channels, height, width); both start from it. The pipeline is left as it was.
    """
    settings = settings or Settings()
    before = pipeline.unet.attn_processors
    size = noise.shape[-1] * pipeline.vae_scale_factor
    pipeline.unet.set_attn_processor(ExplicitMaps(pipeline, size, settings, prompts, keep=keep))
    try:
        return plain_pair(pipeline, prompts, noise, settings, output_type=output_type)
    finally:
        pipeline.unet.set_attn_processor(before)


@torch.no_grad()
def plain_pair(
    pipeline: Any,
    prompts: Prompts,
    noise: torch.Tensor,
    settings: Settings | None = None,
    *,
    output_type: str = "latent",
) -> Any:
    """The same with the attention layers as they are: nothing is edited."""
    settings = settings or Settings()
    pipeline.set_progress_bar_config(disable=True)
    size = noise.shape[-1] * pipeline.vae_scale_factor
    return pipeline(
        list(prompts),
        height=size,
        width=size,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        latents=torch.stack([noise, noise]).to(pipeline.unet.device, pipeline.unet.dtype),
        output_type=output_type,
    ).images
