"""Tiny SAM and SAM 2 on disk: the real classes and image processors, random weights, safetensors."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from tests.tiny.drawing import draw_weights

SIDE = 64
"""Of the pictures that the networks see, in pixels."""
_PATCH = 8
_HIDDEN = 16

_GAIN = 2.0
_MASK_GAIN = 8.0
"""On what masks are made of: without it none stays as it is when the cut-off moves by 1, none is stable."""

OPEN = {"points_per_side": 4, "pred_iou_thresh": -10.0, "stability_score_thresh": -1.0, "crops_nms_thresh": 1.0}
"""Options under which every mask gives a box: random weights predict no quality worth a threshold."""

_DECODER: dict[str, Any] = {
    "hidden_size": _HIDDEN,
    "mlp_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}
_PROMPTS: dict[str, Any] = {"hidden_size": _HIDDEN, "image_size": SIDE, "patch_size": _PATCH, "mask_input_channels": 4}


def save(folder: Path, seed: int = 0) -> None:
    """Write a SAM."""
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=16,
            output_channels=_HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=_PATCH,
            window_size=4,
            global_attn_indexes=[1],
            num_pos_feats=_HIDDEN // 2,
            mlp_dim=32,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(**_PROMPTS),
        mask_decoder_config=SamMaskDecoderConfig(**_DECODER),
    )
    processor = SamImageProcessor(
        size={"longest_edge": SIDE},
        mask_size={"longest_edge": SIDE // 4},
        pad_size={"height": SIDE, "width": SIDE},
        mask_pad_size={"height": SIDE // 4, "width": SIDE // 4},
    )
    _save(SamModel, config, processor, folder, seed=seed)


def save_2(folder: Path, seed: int = 0) -> None:
    """Write a SAM 2 for pictures."""
    _save(Sam2Model, Sam2Config(**_parts_of_2()), _processor_of_2(), folder, seed=seed)


def save_2_video(folder: Path, seed: int = 0) -> None:
    """Write a SAM 2 for videos, which holds one for pictures: so the published ones are."""
    config = Sam2VideoConfig(
        **_parts_of_2(),
        image_size=SIDE,
        memory_attention_hidden_size=_HIDDEN,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2,
        memory_encoder_hidden_size=_HIDDEN,
        memory_encoder_output_channels=8,
        mask_downsampler_embed_dim=_HIDDEN,
        memory_fuser_embed_dim=_HIDDEN,
        memory_fuser_intermediate_dim=32,
    )
    _save(Sam2VideoModel, config, _processor_of_2(), folder, seed=seed)


def _parts_of_2() -> dict[str, Any]:
    channels = [8, 16, 32, 64]
    return {
        "vision_config": Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(
                hidden_size=channels[0],
                image_size=[SIDE, SIDE],
                blocks_per_stage=[1, 1, 2, 1],
                embed_dim_per_stage=channels,
                num_attention_heads_per_stage=[1, 1, 2, 2],
                window_size_per_stage=[4, 4, 4, 2],
                global_attention_blocks=[3],
            ),
            backbone_channel_list=channels[::-1],
            backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
            fpn_hidden_size=_HIDDEN,
        ),
        "prompt_encoder_config": Sam2PromptEncoderConfig(**{**_PROMPTS, "patch_size": 16}),
        "mask_decoder_config": Sam2MaskDecoderConfig(**_DECODER),
    }


def _processor_of_2() -> Sam2ImageProcessor:
    return Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}, mask_size={"height": SIDE // 4, "width": SIDE // 4})


def _save(kind: Any, config: Any, processor: Any, folder: Path, *, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        # For what is drawn without being a parameter: the frequencies of the position embedding.
        torch.manual_seed(seed)
        model = kind(config)
    draw_weights(model, seed, _GAIN)
    with torch.no_grad():
        for name, parameter in model.mask_decoder.output_hypernetworks_mlps.named_parameters():
            if "proj_out" in name:
                parameter.mul_(_MASK_GAIN)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
