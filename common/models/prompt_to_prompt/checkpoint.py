"""A checkpoint of Stable Diffusion XL in the hub's layout, as a pipeline of diffusers."""

from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from common.models.loading import check_complete, loading
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError

_INDEX = "model_index.json"
_ARCHITECTURE = "StableDiffusionXLPipeline"


def load_pipeline(weights: Weights, dtype: torch.dtype, device: torch.device, variant: str | None) -> Any:
    """The pipeline on its device, from safetensors alone, without the watermark.

    `variant` is the part of the file names before `.safetensors` where a checkpoint has its numbers more than once. The
    decoder keeps float32 where its checkpoint says so: in float16 it overflows, and pictures turn black.
    Raises ConfigurationError where files are missing, broken, incomplete or of another architecture.
    """
    # diffusers quotes what it cuts off a prompt, padding included, on every call.
    logging.set_verbosity_error()
    with loading(weights, _INDEX):
        found = StableDiffusionXLPipeline.load_config(weights.folder, local_files_only=True).get("_class_name")
        if found != _ARCHITECTURE:
            raise ConfigurationError(
                f"weights of {weights.id}: {weights.folder / _INDEX} says {found!r}, expected {_ARCHITECTURE!r}"
            )
        decoder = _model(weights, AutoencoderKL, "vae", torch.float32, variant)
        _check_scale(weights, decoder)
        pipeline = StableDiffusionXLPipeline.from_pretrained(
            weights.folder,
            unet=_model(weights, UNet2DConditionModel, "unet", dtype, variant),
            vae=decoder if decoder.config.force_upcast else decoder.to(dtype),
            text_encoder=_model(weights, CLIPTextModel, "text_encoder", dtype, variant),
            text_encoder_2=_model(weights, CLIPTextModelWithProjection, "text_encoder_2", dtype, variant),
            local_files_only=True,
            add_watermarker=False,
        )
        _check_words(weights, "tokenizer", pipeline.tokenizer, pipeline.text_encoder)
        _check_words(weights, "tokenizer_2", pipeline.tokenizer_2, pipeline.text_encoder_2)
        return pipeline.to(device)


def _model(weights: Weights, kind: Any, folder: str, dtype: torch.dtype, variant: str | None) -> Any:
    weights.file(f"{folder}/config.json")
    model, info = kind.from_pretrained(
        weights.folder / folder,
        dtype=dtype,
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    check_complete(weights, info)
    return model.eval()


def _check_scale(weights: Weights, decoder: Any) -> None:
    """Relatives of SDXL shift and stretch each channel of their latents; the published one has one factor for all."""
    for name in ("latents_mean", "latents_std"):
        if getattr(decoder.config, name, None) is not None:
            raise ConfigurationError(
                f"weights of {weights.id}: {weights.folder / 'vae' / 'config.json'} has `{name}`, expected a decoder of "
                "Stable Diffusion XL, which has `scaling_factor` alone"
            )


def _check_words(weights: Weights, folder: str, tokenizer: Any, encoder: Any) -> None:
    """transformers makes a tokenizer without any words where its files are missing."""
    if len(tokenizer) != encoder.config.vocab_size:
        raise ConfigurationError(
            f"weights of {weights.id}: {weights.folder / folder} has {len(tokenizer)} tokens, expected the "
            f"{encoder.config.vocab_size} of its text encoder"
        )
