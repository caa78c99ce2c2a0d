"""Checkpoints of random weights on disk: the tiny ones of the tests, or the real architectures in their real sizes.

The real ones come from their published configurations. Files of words and of preprocessing are the tiny ones': a
vocabulary of a few hundred pieces in the place of 32,000 makes prompts a few times longer, for both sides alike.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.scales import Scale

_SEED = 0
_BYTES = 3 + 256
"""The tokens before the first letter of the tiny tokenizers of Llama: special ones and bytes."""


def write(family: str, scale: Scale, folder: Path, device: str) -> None:
    """Write the checkpoint of a family (a key of TINY) in the scale's numbers. Large weights are drawn on the device."""
    folder.mkdir(parents=True, exist_ok=True)
    TINY[family](folder)
    if scale.name == "full":
        _Large(folder, torch.device(device), getattr(torch, scale.dtype)).write(family)


def _tiny_clip(folder: Path) -> None:
    from tests.tiny import clip

    clip.save(folder, _SEED)


def _tiny_blip(folder: Path) -> None:
    from tests.tiny import blip

    blip.save(folder, _SEED)


def _tiny_fastsam(folder: Path) -> None:
    from tests.tiny import fastsam

    fastsam.save(folder, _SEED)


def _tiny_llava(folder: Path) -> None:
    from tests.tiny import llava

    llava.save(folder, _SEED)


def _tiny_editor(folder: Path) -> None:
    from tests.tiny import llama

    llama.save(folder, _SEED)


def _tiny_sdxl(folder: Path) -> None:
    from tests.tiny import sdxl

    sdxl.save(folder, _SEED)


TINY: Mapping[str, Callable[[Path], None]] = {
    "editor": _tiny_editor,
    "sdxl": _tiny_sdxl,
    "clip": _tiny_clip,
    "fastsam": _tiny_fastsam,
    "blip": _tiny_blip,
    "llava": _tiny_llava,
}
"""By family: what writes the tiny checkpoint."""


class _Large:
    """Puts a model of the real size into the place of the tiny one in a folder."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._folder = folder
        self._device = device
        self._dtype = dtype

    def write(self, family: str) -> None:
        getattr(self, f"_{family}")()

    def _editor(self) -> None:
        """Vicuna-7B-1.5."""
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(**_LLAMA_7B, vocab_size=32_000, bos_token_id=1, eos_token_id=2, pad_token_id=0)
        model = self._drawn(lambda: LlamaForCausalLM(config))
        self._never_silent(model.lm_head, len(AutoTokenizer.from_pretrained(self._folder)))
        self._replace(model)

    def _llava(self) -> None:
        """LLaVA-NeXT on Vicuna-7B, with CLIP ViT-L/14 at 336 pixels."""
        from transformers import (
            AutoTokenizer,
            CLIPVisionConfig,
            LlamaConfig,
            LlavaNextConfig,
            LlavaNextForConditionalGeneration,
        )

        tokenizer = AutoTokenizer.from_pretrained(self._folder)
        config = LlavaNextConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                image_size=336,
                patch_size=14,
                projection_dim=768,
            ),
            text_config=LlamaConfig(
                **_LLAMA_7B,
                vocab_size=32_064,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            ),
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
        model = self._drawn(lambda: LlavaNextForConditionalGeneration(config))
        self._never_silent(model.lm_head, tokenizer.pad_token_id)
        self._replace(model)
        self._edit(
            "preprocessor_config.json",
            size={"shortest_edge": 336},
            crop_size={"height": 336, "width": 336},
            image_grid_pinpoints=config.image_grid_pinpoints,
        )

    def _blip(self) -> None:
        """BLIP ITM large: ViT-L/16 at 384 pixels, BERT base."""
        from transformers import BlipConfig, BlipForImageTextRetrieval, BlipTextConfig, BlipVisionConfig

        text = BlipTextConfig(
            vocab_size=30_524,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=512,
            encoder_hidden_size=1024,
        )
        vision = BlipVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=384,
            patch_size=16,
        )
        config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), image_text_hidden_size=256)
        self._replace(self._drawn(lambda: BlipForImageTextRetrieval(config)))
        self._edit("preprocessor_config.json", size={"height": 384, "width": 384})

    def _clip(self) -> None:
        """CLIP ViT-B/32 with QuickGELU."""
        import open_clip
        from safetensors.torch import save_file

        from tests.tiny import clip

        config = open_clip.get_model_config("ViT-B-32-quickgelu")
        model = self._drawn(lambda: open_clip.CLIP(**config))
        save_file(model.float().cpu().state_dict(), self._folder / "open_clip_model.safetensors")
        clip.save_config(self._folder, config)

    def _fastsam(self) -> None:
        """FastSAM-x is YOLOv8x-seg with one class."""
        from tests.tiny import fastsam

        fastsam.save(self._folder, _SEED, "yolov8x-seg.yaml")

    def _sdxl(self) -> None:
        """Stable Diffusion XL base 1.0."""
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        parts: dict[str, Callable[[], Any]] = {
            "unet": lambda: UNet2DConditionModel(**_SDXL_UNET),
            "vae": lambda: AutoencoderKL(**_SDXL_VAE),
            "text_encoder": lambda: CLIPTextModel(_text_config(768, 3072, 12, 12, "quick_gelu")),
            "text_encoder_2": lambda: CLIPTextModelWithProjection(_text_config(1280, 5120, 32, 20, "gelu")),
        }
        for name, build in parts.items():
            self._replace(self._drawn(build), name, variant="fp16")

    def _drawn(self, build: Callable[[], Any]) -> Any:
        """The model with weights that keep the size of what goes through them; no value is ever drawn twice."""
        with torch.device("meta"):
            model = build()
        model = model.to(self._dtype).to_empty(device=self._device)
        generator = torch.Generator(self._device).manual_seed(_SEED)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1 or "embedding" in name:
                    fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
                    parameter.normal_(std=fan_in**-0.5, generator=generator)
                else:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        return model.eval()

    def _never_silent(self, head: Any, end: int) -> None:
        """Only letters are ever said: no reply ends early, and each is as long as it may get."""
        with torch.no_grad():
            head.weight[:_BYTES] = 0
            head.weight[end:] = 0

    def _replace(self, model: Any, subfolder: str = "", **arguments: Any) -> None:
        folder = self._folder / subfolder
        for old in folder.glob("*.safetensors*"):
            # The new file may be called otherwise, or be several.
            old.unlink()
        model.save_pretrained(folder, **arguments)

    def _edit(self, name: str, **values: Any) -> None:
        path = self._folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


_LLAMA_7B: Mapping[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
}

_SDXL_UNET: Mapping[str, Any] = {
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

_SDXL_VAE: Mapping[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "force_upcast": True,
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
