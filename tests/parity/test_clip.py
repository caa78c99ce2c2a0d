"""CLIP held to transformers' implementation with the same weights, from the picture and the text on."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from common.models.clip import ClipImageEncoder, ClipTextEncoder
from common.models.weights import Weights
from common.settings import ComputeSettings
from tests.tiny import clip

TOLERANCE = 1e-5
CONTROL = 100 * TOLERANCE
"""What is wrong has to lie at least this far off."""

Rows = npt.NDArray[np.float32]

SIZES = [(64, 64), (33, 50), (120, 31), (7, 9), (32, 32), (1, 6), (200, 45)]

TOKENS: Mapping[str, Sequence[int]] = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "A  photo of a cat": [320, 1125, 539, 320, 2368],
    "a photo of a dog": [320, 1125, 539, 320, 1929],
    "cat " * 90: [2368] * 75,
}
"""The ids of OpenAI's vocabulary, without those of start and end. The last text has more than its 77 places."""

_START, _END, _PLACES = 49406, 49407, 77


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("clip")
    clip.save(folder)
    return Weights("tiny/clip", "main", folder)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in SIZES]


@pytest.fixture(scope="module")
def encoded(weights: Weights, images: list[Image.Image]) -> Rows:
    return ClipImageEncoder(weights, ComputeSettings(), images_per_call=3).encode_images(images)


@pytest.fixture(scope="module")
def read(weights: Weights) -> Rows:
    return ClipTextEncoder(weights, ComputeSettings(), texts_per_call=3).encode_texts(list(TOKENS))


def test_pictures_are_embedded_as_by_transformers(weights: Weights, images: list[Image.Image], encoded: Rows) -> None:
    assert error(encoded, image_rows(reference(weights), [pixels_of(image) for image in images])) < TOLERANCE


def test_texts_are_embedded_as_by_transformers(weights: Weights, read: Rows) -> None:
    assert error(read, text_rows(reference(weights), list(TOKENS.values()))) < TOLERANCE


def test_cosines_are_those_of_transformers(weights: Weights, images: list[Image.Image], encoded: Rows) -> None:
    expected = image_rows(reference(weights), [pixels_of(image) for image in images])
    assert error(encoded @ encoded.T, expected @ expected.T) < TOLERANCE


def test_the_wrong_picture_and_the_wrong_text_are_told_apart(encoded: Rows, read: Rows) -> None:
    for one in range(len(encoded)):
        for other in range(one):
            assert error(encoded[one], encoded[other]) > CONTROL
    # Spaces and capitals do not count.
    assert error(read[1], read[0]) < TOLERANCE
    assert error(read[2], read[0]) > CONTROL


def test_gelu_in_place_of_quick_gelu_is_told_apart(
    weights: Weights, images: list[Image.Image], encoded: Rows, read: Rows
) -> None:
    other = reference(weights, activation="gelu")
    rows = image_rows(other, [pixels_of(image) for image in images])
    assert error(encoded, rows) > CONTROL
    assert error(encoded @ encoded.T, rows @ rows.T) > CONTROL
    assert error(read, text_rows(other, list(TOKENS.values()))) > CONTROL


def test_the_preprocessing_of_transformers_is_told_apart(
    weights: Weights, images: list[Image.Image], encoded: Rows
) -> None:
    side = clip.MODEL["vision_cfg"]["image_size"]
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    pixels = [processor(image, return_tensors="np").pixel_values[0] for image in images]
    assert error(encoded, image_rows(reference(weights), pixels)) > CONTROL


def error(found: Rows, expected: Rows) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def pixels_of(image: Image.Image) -> Rows:
    """The published preprocessing: the shorter side scaled with PIL, bicubic; the centre; OpenAI's mean and deviation."""
    side = clip.MODEL["vision_cfg"]["image_size"]
    shorter = min(image.size)
    width, height = (int(side * length / shorter) for length in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    scaled = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return ((np.asarray(scaled, np.float32) / 255 - mean) / deviation).transpose(2, 0, 1).astype(np.float32)


@torch.no_grad()
def image_rows(model: CLIPModel, pixels: Sequence[Rows]) -> Rows:
    rows = [model.get_image_features(pixel_values=torch.from_numpy(one)[None]).pooler_output for one in pixels]
    found: Rows = torch.nn.functional.normalize(torch.cat(rows), dim=-1).numpy()
    return found


@torch.no_grad()
def text_rows(model: CLIPModel, texts: Sequence[Sequence[int]]) -> Rows:
    rows = []
    for text in texts:
        ids = torch.tensor([[_START, *text, _END]])
        assert ids.shape[1] <= _PLACES
        rows.append(model.get_text_features(input_ids=ids).pooler_output)
    found: Rows = torch.nn.functional.normalize(torch.cat(rows), dim=-1).numpy()
    return found


def reference(weights: Weights, activation: str = "quick_gelu") -> CLIPModel:
    vision, text = clip.MODEL["vision_cfg"], clip.MODEL["text_cfg"]
    towers = {
        "vision_config": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "num_attention_heads": vision["width"] // vision["head_width"],
        },
        "text_config": {
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "num_attention_heads": text["heads"],
            "bos_token_id": _START,
            "eos_token_id": _END,
        },
    }
    for name, ours in (("vision_config", vision), ("text_config", text)):
        towers[name] |= {
            "hidden_size": ours["width"],
            "intermediate_size": 4 * ours["width"],
            "num_hidden_layers": ours["layers"],
            "hidden_act": activation,
        }
    model = CLIPModel(CLIPConfig(**towers, projection_dim=clip.MODEL["embed_dim"]))
    state = dict(renamed(load_file(weights.folder / "open_clip_model.safetensors")))
    model.load_state_dict(state, strict=True)
    return model.eval()


def renamed(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """open_clip's tensors under transformers' names: queries, keys and values apart, projections as linear layers."""
    for name, tensor in state.items():
        tower = "vision_model" if name.startswith("visual.") else "text_model"
        own = name.removeprefix("visual.")
        if own.startswith("transformer.resblocks."):
            _, _, layer, rest = own.split(".", 3)
            yield from _of_layer(f"{tower}.encoder.layers.{layer}", rest, tensor)
        elif own in {"proj", "text_projection"}:
            yield f"{'visual' if own == 'proj' else 'text'}_projection.weight", tensor.T
        elif own == "logit_scale":
            yield own, tensor
        elif own == "positional_embedding":
            yield f"{tower}.embeddings.position_embedding.weight", tensor
        else:
            yield f"{tower}.{_OUTSIDE[own]}", tensor


def _of_layer(layer: str, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    part, _, kind = name.rpartition(".")
    if part == "attn":
        for own, third in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{layer}.self_attn.{own}_proj.{kind.removeprefix('in_proj_')}", third
    else:
        yield f"{layer}.{_INSIDE[part]}.{kind}", tensor


_INSIDE = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}

_OUTSIDE = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
