"""A tiny chat model that has learnt a few edits by heart: it gives for each caption its edit, and gibberish for others."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from common.models.chat_template import ChatTemplate
from common.models.prompts import Prompt
from tests.tiny.llama import save_tokenizer

_STEPS = 600
_LOSS = 0.01
"""Nats per token: below it every token of every edit is by far the likeliest."""
_IGNORED = -100


def save(folder: Path, prompt: Prompt, template: str, edits: Mapping[str, str]) -> None:
    """Write the checkpoint, laid out as `tests.tiny.llama` writes it. Takes some seconds; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = ChatTemplate(tokenizer, template, "caption_editor")
    prompts = [torch.tensor(chat.tokens(prompt, {"caption": caption})) for caption in edits]
    replies = [torch.tensor([*tokenizer(edit, add_special_tokens=False).input_ids, 2]) for edit in edits.values()]
    ids = [torch.cat(parts) for parts in zip(prompts, replies, strict=True)]
    labels = [torch.cat([torch.full_like(p, _IGNORED), r]) for p, r in zip(prompts, replies, strict=True)]
    batch = {
        "input_ids": pad_sequence(ids, batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=_IGNORED),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=96,
                intermediate_size=192,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=1024,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=0,
            )
        )
        _learn(model, batch)
    model.save_pretrained(folder)


def _learn(model: LlamaForCausalLM, batch: Mapping[str, torch.Tensor]) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    for _ in range(_STEPS):
        loss = model(**batch).loss
        if loss.item() < _LOSS:
            return
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    raise AssertionError(f"the edits are not learnt after {_STEPS} steps: {loss.item():.3f} nats per token")
