"""A tiny Stable Diffusion XL: the classes, the geometry and the files of the real one, with few channels.

128 x 128 pixels are 16 x 16 latents. As in the real model self-attention has (size / 16)^2 tokens on the middle level
and (size / 32)^2 on the lowest: Prompt-to-Prompt replaces the maps of the latter alone. The tokenisers have CLIP's own
vocabulary, so that prompts split, align and overflow as they do for the real model.
"""

import gzip
import json
from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.tiny.published import rename_tensors

SIZE = 128
"""Side of its pictures in pixels."""
TEXT_TOKENS = 77

_ATTENTION_GAIN = 6.0
"""On the projections to queries and keys: with the weights as they are drawn every map is all but uniform."""
_TEXT_GAIN = 3.0
"""On the embeddings of tokens: with them as they are drawn every prompt says the same."""
_PICTURE_GAIN = 3.0
"""On the decoder's last layer: with it as it is drawn every picture is grey."""
_MERGES = 49152 - 256 - 2


def save(folder: Path, seed: int = 0) -> None:
    """Write the checkpoint with random weights into the folder: safetensors in float16, in files of the variant `fp16`,
    as the published workflow reads them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = _pipeline()
    for model in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        model.to(torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True, variant="fp16")
    for name in ("tokenizer", "tokenizer_2"):
        _as_published(folder / name)
    positions = {"text_model.embeddings.position_ids": torch.arange(TEXT_TOKENS).unsqueeze(0)}
    rename_tensors(folder / "text_encoder" / "model.fp16.safetensors", lambda own: f"text_model.{own}", positions)
    rename_tensors(folder / "text_encoder_2" / "model.fp16.safetensors", lambda own: own, positions)


def _pipeline() -> StableDiffusionXLPipeline:
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=(8, 16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(1, 2, 4),
        norm_num_groups=4,
        cross_attention_dim=64,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        sample_size=SIZE,
        scaling_factor=0.13025,
        force_upcast=True,
    )
    encoder, encoder_2 = CLIPTextModel(_text_config("quick_gelu")), CLIPTextModelWithProjection(_text_config("gelu"))
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if name.endswith(("to_q.weight", "to_k.weight")):
                weight.mul_(_ATTENTION_GAIN)
        for text in (encoder, encoder_2):
            text.get_input_embeddings().weight.mul_(_TEXT_GAIN)
        vae.decoder.conv_out.weight.mul_(_PICTURE_GAIN)
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoder,
        text_encoder_2=encoder_2,
        tokenizer=tokenizer("<|endoftext|>"),
        tokenizer_2=tokenizer("!"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        add_watermarker=False,
    )


def _text_config(activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT_TOKENS,
        projection_dim=32,
        hidden_act=activation,
        pad_token_id=1,
        bos_token_id=49406,
        eos_token_id=49407,
    )


def tokenizer(padding: str) -> CLIPTokenizer:
    """CLIP's, from the merges that open_clip ships."""
    path = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _MERGES + 1]
    merges = [tuple(line.split()) for line in lines]
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: place for place, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=padding, model_max_length=TEXT_TOKENS)


def _as_published(folder: Path) -> None:
    """The tokeniser's files as the published checkpoint has them: vocabulary and merges apart."""
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    path.unlink()


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in the order of CLIP's vocabulary: those that print are their own."""
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    rest = 256 - len(printing)
    return [*map(chr, printing), *(chr(256 + extra) for extra in range(rest))]
