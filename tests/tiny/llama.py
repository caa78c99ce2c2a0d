"""A tiny chat model on disk as Vicuna-1.5 lies on the hub: LlamaForCausalLM, random weights, a sentencepiece tokenizer
without a chat template, and generation settings of its own."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import sentencepiece
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from common.models.prompts import Prompt

VICUNA = (
    "{{ bos_token + ' ' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + ' ' }}"
    "{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""The conversation format of Vicuna-1.1 and 1.5: a space behind every turn of the user, the reply behind the colon.

The space behind the BOS token is the one that sentencepiece puts before a text: a tokenizer that is not `legacy` puts none
behind a token written out, and reads another first word than the published one."""

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
"""The sentence that Vicuna was trained with."""

PROMPT = Prompt(text='Replace one object in the sentence "{caption}". Answer with the sentence.', system=SYSTEM)

_SENTENCES = (
    SYSTEM,
    PROMPT.text.replace("{caption}", "A black dog sits on the sofa beside a red ball."),
    "USER: ASSISTANT:",
    "A cat lies on a wooden table next to an orange cup.",
    "Two horses stand in a green field near the old barn.",
    "A man rides a bicycle down the street in front of a bus.",
)
_PIECES = 480
_BYTES = 256


def save(folder: Path, seed: int = 0, pickled: bool = False) -> None:
    """Writes the checkpoint; `pickled` in place of safetensors, as Vicuna's own files are.

    The weights are so large that another prompt gives another reply; some replies end early, some run on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    model = build(seed)
    model.save_pretrained(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")


def build(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=_PIECES,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=_gain(name) / parameter.shape[1] ** 0.5)
        # Bytes make no text one could read; the end comes now and then.
        model.lm_head.weight[3 : 3 + _BYTES] = 0
        model.lm_head.weight[2] *= 1.5
    # What Vicuna brings, and a penalty as other chat models have: none of it is what a profile asks for.
    model.generation_config = GenerationConfig(
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        do_sample=True,
        temperature=0.9,
        top_p=0.6,
        repetition_penalty=1.3,
        max_length=4096,
    )
    return model.eval()


def _gain(name: str) -> float:
    """How much larger than usual the weights are: attention has to tell one caption from another in a long prompt."""
    if "embed_tokens" in name:
        return 8.0
    return 4.0 if "q_proj" in name or "k_proj" in name else 2.0


def save_tokenizer(folder: Path) -> None:
    """Llama's kind, trained on a few sentences: BPE with bytes for what is unknown, digits on their own."""
    trained = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_corpus(),
        model_writer=trained,
        model_type="bpe",
        vocab_size=_PIECES,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(trained.getvalue())
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "model_max_length": 4096,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _corpus() -> Iterator[str]:
    for _ in range(10):
        yield from _SENTENCES
