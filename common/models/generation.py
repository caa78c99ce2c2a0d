"""How transformers' `generate` is called: what the profile says about decoding, and nothing that a checkpoint adds."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from common.models.prompts import Decoding
from common.models.torch_device import to_device


def only_special_tokens(model: Any, tokenizer: Any) -> None:
    """Takes from the model's generation config all but its special tokens.

    `generate` fills whatever a caller leaves open from there, and checkpoints put temperatures and penalties into it.
    """
    config = model.generation_config
    end = tokenizer.eos_token_id if config.eos_token_id is None else config.eos_token_id
    first_end = end[0] if isinstance(end, list) else end
    pad = next(token for token in (config.pad_token_id, tokenizer.pad_token_id, first_end) if token is not None)
    model.generation_config = GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=end, pad_token_id=pad)


def decoding_arguments(decoding: Decoding, seeds: Sequence[int], device: torch.device) -> dict[str, Any]:
    """What `generate` takes for rows with these seeds: always one beam, always the best token.

    Sampling is greedy, too, over scores that leave only the token that was drawn: see SeededDraw.
    """
    processors = [NumbersOnly(), *([] if decoding.greedy else [SeededDraw(decoding, seeds, device)])]
    return {
        "generation_config": GenerationConfig(max_new_tokens=decoding.max_new_tokens, do_sample=False, num_beams=1),
        "logits_processor": LogitsProcessorList(processors),
    }


class NumbersOnly(LogitsProcessor):
    """Refuses scores that are no numbers. The best of them would be the vocabulary's first token, for ever: a text like
    any other, such as `!!!!`."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape (rows, vocabulary), as they are. Raises FloatingPointError."""
        if scores.isnan().any():
            raise FloatingPointError(
                "scores of the next token that are no numbers: `compute.dtype` is too narrow for it"
            )
        return scores


class SeededDraw(LogitsProcessor):
    """Draws a token per row from the softmax, and leaves no other. Each row has a generator of its own.

    So a row's draws depend on its seed alone, not on the rows that share its batch, nor on torch's global state. The
    generators are the CPU's: equal seeds draw equal numbers on every device. One number a row and token comes from there,
    since a vocabulary of them would take a CPU longer than a GPU takes for the token.
    """

    def __init__(self, decoding: Decoding, seeds: Sequence[int], device: torch.device) -> None:
        self._decoding = decoding
        self._generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        self._device = device

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape (rows, vocabulary): 0 for the token drawn, minus infinity for the others."""
        likely = _nucleus(scores / self._decoding.temperature, self._decoding.top_p)
        # In float64: over a large vocabulary the sum's rounding is else larger than the rarest tokens.
        reached = likely.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        # Of 24 bits, so below 1 also times the last sum: some token is always reached, never one of probability 0.
        uniform = torch.stack([torch.rand(1, generator=each) for each in self._generators]).double()
        drawn = torch.searchsorted(reached, to_device(uniform, self._device) * reached[:, -1:], right=True)
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn, 0.0)


def _nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Of each row the fewest tokens that together have at least the probability `top_p`; the others at minus infinity."""
    if top_p == 1:
        return scores
    ordered, order = scores.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    return torch.full_like(scores, -torch.inf).scatter(-1, order, ordered.masked_fill(before >= top_p, -torch.inf))
