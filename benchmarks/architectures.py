"""The architectures of the published models, from their published configurations: what a checkpoint of each would be."""

from collections.abc import Callable, Mapping
from typing import Any

LLAMA_7B: Mapping[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
}
"""Llama 2 of 7B, and so Vicuna-7B-1.5."""

LLAMA_13B: Mapping[str, Any] = {
    "hidden_size": 5120,
    "intermediate_size": 13_824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "max_position_embeddings": 4096,
}
"""Llama 2 of 13B, and so Vicuna-13B-1.5."""

QWEN2_7B: Mapping[str, Any] = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": False,
}
"""Qwen2-7B-Instruct."""

VIT_B_16: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 16,
}

VIT_L_16: Mapping[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 16,
}

CLIP_VIT_B_32 = "ViT-B-32-quickgelu"
"""As open_clip calls it."""

FASTSAM_X = "yolov8x-seg.yaml"
"""As ultralytics calls it: FastSAM-x is YOLOv8x-seg with one class."""

SDXL_UNET: Mapping[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

SDXL_VAE: Mapping[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "force_upcast": True,
}


def llama_config(size: Mapping[str, Any]) -> Any:
    """Llama 2 of a size, with its own vocabulary."""
    from transformers import LlamaConfig

    return LlamaConfig(**size, vocab_size=32_000, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def llava_config(size: Mapping[str, Any], bos: int = 1, eos: int = 2, pad: int = 32_001, image: int = 32_000) -> Any:
    """LLaVA-NeXT on Vicuna of a size, with CLIP ViT-L/14 at 336 pixels. The other arguments are ids of tokens."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig

    return LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            **{**VIT_L_16, "patch_size": 14},
            image_size=336,
            projection_dim=768,
        ),
        text_config=LlamaConfig(**size, vocab_size=32_064, bos_token_id=bos, eos_token_id=eos, pad_token_id=pad),
        image_token_id=image,
        image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def blip_config(vision: Mapping[str, Any]) -> Any:
    """BLIP ITM with a vision tower at 384 pixels, and BERT base."""
    from transformers import BlipConfig, BlipTextConfig, BlipVisionConfig

    text = BlipTextConfig(
        vocab_size=30_524,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=512,
        encoder_hidden_size=vision["hidden_size"],
    )
    tower = BlipVisionConfig(**vision, image_size=384)
    return BlipConfig(text_config=text.to_dict(), vision_config=tower.to_dict(), image_text_hidden_size=256)


def sdxl_parts() -> dict[str, Callable[[], Any]]:
    """What builds each part of Stable Diffusion XL base 1.0, by its folder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    return {
        "unet": lambda: UNet2DConditionModel(**SDXL_UNET),
        "vae": lambda: AutoencoderKL(**SDXL_VAE),
        "text_encoder": lambda: CLIPTextModel(_text_config(768, 3072, 12, 12, "quick_gelu")),
        "text_encoder_2": lambda: CLIPTextModelWithProjection(_text_config(1280, 5120, 32, 20, "gelu")),
    }


def _text_config(hidden: int, intermediate: int, layers: int, heads: int, activation: str) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        projection_dim=hidden,
        hidden_act=activation,
        pad_token_id=1,
        bos_token_id=49406,
        eos_token_id=49407,
    )
