"""A tiny BLIP for matching on disk, as the published ones lie on the hub: random weights, a vocabulary of letters."""

import json
import string
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval, BlipTextConfig, BlipVisionConfig

from tests.tiny.drawing import draw_weights

SIDE = 48
"""Pictures are scaled to this width and height."""

PLACES = 32
"""The most tokens of a text."""

_WORDS = "a an and cat dog horse of on person red sofa the two with".split()

_PREPROCESSING = {
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "BlipImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "processor_class": "BlipProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": SIDE, "width": SIDE},
    "size_divisor": 32,
}
"""As in the published folders, but for the size."""


def save(folder: Path, seed: int = 0) -> None:
    """Writes model, tokenizer and image processor."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _vocabulary()
    model = BlipForImageTextRetrieval(config(len(vocabulary)))
    draw_weights(model, seed, gain=1.5)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    # The published checkpoints still have this table of 0, 1, 2, ..., which transformers no longer keeps.
    positions = {"text_encoder.embeddings.position_ids": torch.arange(PLACES).unsqueeze(0)}
    save_file({**model.state_dict(), **positions}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSING, indent=2))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(vocab={word: place for place, word in enumerate(vocabulary)}, model_max_length=512).save_pretrained(
        folder
    )


def config(words: int) -> BlipConfig:
    """As in the large model, the towers are of different widths."""
    return BlipConfig(
        text_config=BlipTextConfig(
            vocab_size=words,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=PLACES,
        ).to_dict(),
        vision_config=BlipVisionConfig(
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=8,
        ).to_dict(),
        image_text_hidden_size=24,
    )


def _vocabulary() -> list[str]:
    letters = [*string.ascii_lowercase, *string.digits]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *string.punctuation, *letters, *(f"##{one}" for one in letters), *_WORDS]))
