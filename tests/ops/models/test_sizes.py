"""The computed sizes: those of the architectures, of the files that are named, and of no other model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

# Before ultralytics: it sets what ultralytics reads while it is imported.
import common.models.fastsam  # noqa: F401
from benchmarks import architectures
from common.models.llava_next.model import bytes_per_token
from common.settings import WeightsSource, load_layers
from ops.models.needs import needs_of, sources_of
from ops.models.sizes import PUBLISHED, computed_size

PROFILES = ("paper", "code", "recipe")
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"


def counted(build: Callable[[], Any]) -> int:
    """How many numbers a model has, which is not filled with any."""
    with torch.device("meta"):
        model = build()
    return sum(parameter.numel() for parameter in model.parameters())


def llama(size: Any) -> Any:
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(architectures.llama_config(size))


def qwen2(size: Any) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**size))


def llava(size: Any) -> Any:
    from transformers import LlavaNextForConditionalGeneration

    return LlavaNextForConditionalGeneration(architectures.llava_config(size))


def blip(vision: Any) -> Any:
    from transformers import BlipForImageTextRetrieval

    return BlipForImageTextRetrieval(architectures.blip_config(vision))


def clip() -> Any:
    import open_clip

    return open_clip.CLIP(**open_clip.get_model_config(architectures.CLIP_VIT_B_32))


def fastsam_x() -> Any:
    from ultralytics.nn.tasks import SegmentationModel

    # It measures its strides with a picture as it is built, which takes real numbers.
    with torch.device("cpu"):
        return SegmentationModel(architectures.FASTSAM_X, ch=3, nc=1, verbose=False)


BUILT: dict[str, Callable[[], Any]] = {
    "lmsys/vicuna-7b-v1.5": lambda: llama(architectures.LLAMA_7B),
    "lmsys/vicuna-13b-v1.5": lambda: llama(architectures.LLAMA_13B),
    "Qwen/Qwen2-7B-Instruct": lambda: qwen2(architectures.QWEN2_7B),
    "llava-hf/llava-v1.6-vicuna-7b-hf": lambda: llava(architectures.LLAMA_7B),
    "llava-hf/llava-v1.6-vicuna-13b-hf": lambda: llava(architectures.LLAMA_13B),
    "timm/vit_base_patch32_clip_224.openai": clip,
    "ultralytics/FastSAM-x": fastsam_x,
    "Salesforce/blip-itm-base-coco": lambda: blip(architectures.VIT_B_16),
    "Salesforce/blip-itm-large-coco": lambda: blip(architectures.VIT_L_16),
}


def sources(profile: str) -> list[WeightsSource]:
    return list(sources_of(needs_of(load_layers({}, profile=profile).common().models)))


def test_every_model_of_the_profiles_is_known_and_no_other() -> None:
    named = {source.id for profile in PROFILES for source in sources(profile)}
    assert named == set(PUBLISHED) == {*BUILT, SDXL}


@pytest.mark.parametrize("id", BUILT)
def test_the_counts_are_those_of_the_architectures(id: str) -> None:
    assert PUBLISHED[id].parameters == counted(BUILT[id])


@pytest.mark.parametrize("part", PUBLISHED[SDXL].parts)
def test_the_counts_of_the_parts_of_sdxl(part: str) -> None:
    assert PUBLISHED[SDXL].parts[part] == counted(architectures.sdxl_parts()[part])


def test_the_parts_of_clip_are_its_towers() -> None:
    parts = PUBLISHED["timm/vit_base_patch32_clip_224.openai"].parts
    with torch.device("meta"):
        model = clip()
    assert parts["visual"] == sum(parameter.numel() for parameter in model.visual.parameters())
    assert parts["token_embedding"] == model.token_embedding.weight.numel()


@pytest.mark.parametrize("id", [id for id, model in PUBLISHED.items() if model.kept])
def test_what_a_language_model_keeps_of_a_token(id: str) -> None:
    with torch.device("meta"):
        text = BUILT[id]().config.get_text_config()
    assert PUBLISHED[id].kept * torch.float16.itemsize == bytes_per_token(text, torch.float16)


@pytest.mark.parametrize(
    ("profile", "gigabytes"),
    # Vicuna, SDXL, CLIP, FastSAM, BLIP, LLaVA.
    [
        ("paper", 26.03 + 6.94 + 0.61 + 0.14 + 1.78 + 26.70),
        ("code", 13.48 + 6.94 + 0.61 + 0.14 + 1.78 + 14.13),
        ("recipe", 15.23 + 6.94 + 0.61 + 0.14 + 0.89 + 14.13),
    ],
)
def test_what_a_profile_brings(profile: str, gigabytes: float) -> None:
    sizes = [computed_size(source) for source in sources(profile)]
    assert None not in sizes
    assert sum(size or 0 for size in sizes) / 1e9 == pytest.approx(gigabytes, abs=0.03)


def test_files_of_twice_the_numbers_are_twice_as_large() -> None:
    (half,) = (source for source in sources("paper") if source.id == SDXL)
    whole = half.model_copy(update={"files": tuple(name.replace(".fp16.", ".") for name in half.files)})
    assert computed_size(whole) == 2 * (computed_size(half) or 0) > 0


@pytest.mark.parametrize(
    "source",
    [
        WeightsSource(id="someone/vicuna-13b-v1.5", files=("*.safetensors",)),
        WeightsSource(id="lmsys/vicuna-13b-v1.5-16k", files=("*.safetensors",)),
        WeightsSource.model_validate({"id": "lmsys/vicuna-13b-v1.5", "path": "/mine", "files": ["*.safetensors"]}),
        WeightsSource(id="Salesforce/blip-itm-large-coco"),
        WeightsSource(id=SDXL, files=("unet/*.safetensors", "vae/", "text_encoder/", "text_encoder_2/")),
    ],
)
def test_what_is_not_known_is_not_guessed(source: WeightsSource) -> None:
    assert computed_size(source) is None
