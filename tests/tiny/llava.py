"""A tiny LLaVA-NeXT on disk: the real classes, random weights, a tokenizer with a fixed vocabulary."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
)

from common.models.prompts import Decoding, Prompt
from tests.tiny.published import rename_tensors

TILE = 56
"""Side of a tile in pixels; a tile is 4 x 4 patches."""

VICUNA_V1 = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'ASSISTANT: ' }}{% elif message['role'] == 'user' %}{{ 'USER: ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '</s>' if message['role'] == 'assistant' else ' ' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""The conversation format of LLaVA 1.5 and 1.6 on Vicuna: system, USER, ASSISTANT, with a space between and the
picture in front of the text."""

SYSTEM = "A chat between a user and an assistant."
REGION_PROMPT = Prompt(text="Describe the region {box} in a few words.", system=SYSTEM)
DIFFERENCE_PROMPT = Prompt(
    text="The left box shows {first}, the right box shows {second}. Say what differs.", system=SYSTEM
)
GREEDY = Decoding(max_new_tokens=8)

_FIRST_LETTER = 3 + 256
"""Token ids below are special ones and bytes."""

WORDS = (
    "A a an and ASSISTANT USER assistant bird box brown cat chat between car Describe differs dog few green grey horse image "
    "in is left natural no of red region right Say sheep shows sofa table the The this tree user what white words yes"
).split()
"""What is one token with a space before it."""


def save(folder: Path, seed: int = 0) -> None:
    """Writes model, tokenizer and image processor as a checkpoint of LLaVA 1.6 on the hub is laid out, without a chat
    template. The weights are so large that another picture or another box gives another caption."""
    tokenizer = llama_tokenizer()
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=TILE,
            patch_size=14,
            projection_dim=32,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=[[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    torch.manual_seed(seed)
    model = LlavaNextForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=_gain(name) / parameter.shape[1:].numel() ** 0.5)
        # Never the end of the text, a byte, a picture: every caption has letters that can be read.
        silent = [token for token in range(len(tokenizer)) if not _FIRST_LETTER <= token < tokenizer.pad_token_id]
        model.lm_head.weight[silent] = 0
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    rename_tensors(
        folder / "model.safetensors", lambda own: own.replace("vision_tower.", "vision_tower.vision_model.", 1)
    )
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": TILE},
            crop_size={"height": TILE, "width": TILE},
            image_grid_pinpoints=config.image_grid_pinpoints,
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    # The hub's checkpoints have the image processor in a file of its own; this transformers writes both into one.
    both = json.loads((folder / "processor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(both.pop("image_processor")))
    (folder / "processor_config.json").write_text(json.dumps(both))


def _gain(name: str) -> float:
    """How much larger than usual the weights are."""
    if "embed_tokens" in name:
        return 8.0
    return 3.0 if "q_proj" in name or "k_proj" in name else 1.5


def llama_tokenizer() -> LlamaTokenizer:
    """Llama's: BPE on characters with bytes for what is unknown. Each of WORDS is one token, merged from the left."""
    characters = ["▁", *(chr(code) for code in range(33, 127)), "\n"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for token in [*(f"<0x{byte:02X}>" for byte in range(256)), *characters]:
        vocabulary.setdefault(token, len(vocabulary))
    merges = []
    for word in WORDS:
        left = "▁"
        for character in word:
            if left + character not in vocabulary:
                merges.append((left, character))
                vocabulary[left + character] = len(vocabulary)
            left += character
    return LlamaTokenizer(
        vocab=vocabulary,
        merges=merges,
        add_bos_token=True,
        pad_token="<pad>",
        additional_special_tokens=[AddedToken("<image>", special=True, normalized=False)],
        model_input_names=["input_ids", "attention_mask"],
    )
