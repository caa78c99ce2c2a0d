"""The table of licences: what fits which model."""

import pytest

from ops.models.licences import LICENCES, LLAMA_2, OPEN_RAIL, licence_of


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("lmsys/vicuna-13b-v1.5", LLAMA_2.name),
        ("lmsys/vicuna-7b-v1.5-16k", LLAMA_2.name),
        ("llava-hf/llava-v1.6-vicuna-7b-hf", LLAMA_2.name),
        ("stabilityai/stable-diffusion-xl-base-1.0", OPEN_RAIL.name),
        ("timm/vit_base_patch32_clip_224.openai", "MIT"),
        ("Salesforce/blip-itm-large-coco", "BSD-3-Clause"),
        ("Qwen/Qwen2-7B-Instruct", "Apache-2.0"),
        ("facebook/sam2.1-hiera-large", "Apache-2.0"),
        ("ultralytics/FastSAM-x", "AGPL-3.0"),
    ],
)
def test_known_models_have_their_terms(id: str, name: str) -> None:
    licence = licence_of(id)
    assert licence is not None
    assert licence.name == name


@pytest.mark.parametrize(
    "id",
    # Vicuna before 1.5 is not on Llama 2, nor is LLaVA on Mistral; Qwen2-72B and SDXL-turbo have terms of their own.
    [
        "lmsys/vicuna-13b-v1.3",
        "llava-hf/llava-v1.6-mistral-7b-hf",
        "Qwen/Qwen2-72B-Instruct",
        "stabilityai/sdxl-turbo",
        "someone/vicuna-13b-v1.5",
        "sketch",
    ],
)
def test_others_are_not_guessed(id: str) -> None:
    assert licence_of(id) is None


def test_every_licence_has_a_source_to_look_at() -> None:
    assert all(licence.source.startswith("https://") and licence.name for _, licence in LICENCES)
    assert LLAMA_2.outputs
    assert OPEN_RAIL.outputs
