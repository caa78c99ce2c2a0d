"""CLIP's encoders: what may be asked of them, and the folders that they refuse."""

import json
import pickle
import shutil
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from common.models.clip import ClipImageEncoder, ClipTextEncoder
from common.models.registry import image_encoder, text_encoder
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings, load_layers
from schemas.trail import ModelId
from tests.tiny import clip

TENSORS = "open_clip_model.safetensors"
PICKLE = "open_clip_pytorch_model.bin"
CONFIG = "open_clip_config.json"

TEXTS = ["a photo of a cat", "a red car", "two dogs on a sofa", "", "an apple"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    clip.save(folder)
    return folder


@pytest.fixture(scope="module")
def weights(saved: Path) -> Weights:
    return Weights("tiny/clip", "abc", saved)


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Weights:
    """Weights that a test may spoil."""
    folder = tmp_path / "clip"
    shutil.copytree(saved, folder)
    return Weights("tiny/clip", "abc", folder)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    sizes = [(64, 48), (20, 33), (32, 32), (90, 41), (35, 35)]
    return [Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def test_rows_have_length_1_and_are_float32_whatever_the_model_computes_in(
    weights: Weights, images: list[Image.Image]
) -> None:
    exact = ClipImageEncoder(weights, ComputeSettings()).encode_images(images)
    read = ClipTextEncoder(weights, ComputeSettings()).encode_texts(TEXTS)
    for dtype, near in (("float16", 0.01), ("bfloat16", 0.05)):
        compute = ComputeSettings(dtype=dtype)
        for found, expected in (
            (ClipImageEncoder(weights, compute).encode_images(images), exact),
            (ClipTextEncoder(weights, compute).encode_texts(TEXTS), read),
        ):
            assert found.dtype == np.float32
            assert found.shape == (5, clip.MODEL["embed_dim"])
            assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
            assert 0 < np.abs(found - expected).max() < near


def test_nothing_to_encode(weights: Weights) -> None:
    assert ClipImageEncoder(weights, ComputeSettings()).encode_images([]).shape == (0, clip.MODEL["embed_dim"])
    assert ClipTextEncoder(weights, ComputeSettings()).encode_texts([]).shape == (0, clip.MODEL["embed_dim"])


def test_a_row_does_not_depend_on_what_shares_its_batch(weights: Weights, images: list[Image.Image]) -> None:
    together = ClipImageEncoder(weights, ComputeSettings()).encode_images(images)
    read = ClipTextEncoder(weights, ComputeSettings()).encode_texts(TEXTS)
    for size in (1, 2):
        apart = ClipImageEncoder(weights, ComputeSettings(), images_per_call=size).encode_images(images)
        assert np.abs(apart - together).max() < 1e-6
        apart = ClipTextEncoder(weights, ComputeSettings(), texts_per_call=size).encode_texts(TEXTS)
        assert np.abs(apart - read).max() < 1e-6


def test_micro_batches_are_no_larger_than_asked_for(weights: Weights, images: list[Image.Image]) -> None:
    encoder = ClipImageEncoder(weights, ComputeSettings(), images_per_call=2)
    sizes: list[int] = []
    with encoder.tower.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0]))):
        encoder.encode_images(images)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 1), (2, 3)])
def test_crops_of_any_size(weights: Weights, size: tuple[int, int]) -> None:
    encoder = ClipImageEncoder(weights, ComputeSettings())
    black, white = encoder.encode_images([Image.new("RGB", size), Image.new("RGB", size, "white")])
    assert np.abs(black - white).max() > 0.1


def test_crops_are_encoded_from_memory(
    weights: Weights, images: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ClipImageEncoder(weights, ComputeSettings()).encode_images(images)
    assert not list(tmp_path.iterdir())


def test_a_text_is_cut_after_the_last_place(weights: Weights) -> None:
    encoder = ClipTextEncoder(weights, ComputeSettings())
    # 77 places, two of which are for start and end.
    whole, longer, shorter = encoder.encode_texts([" ".join(["cat"] * words) for words in (75, 200, 74)])
    assert np.array_equal(whole, longer)
    assert np.abs(whole - shorter).max() > 1e-3


def test_identity(weights: Weights) -> None:
    encoder = ClipImageEncoder(weights, ComputeSettings(dtype="bfloat16"), images_per_call=7)
    assert encoder.identity == ModelId(
        role="ImageEncoder", id="tiny/clip", revision="abc", variant="bfloat16, 7 per call"
    )
    assert ClipTextEncoder(weights, ComputeSettings()).identity.role == "TextEncoder"


def test_a_tower_is_all_that_an_encoder_keeps(weights: Weights) -> None:
    text = ClipTextEncoder(weights, ComputeSettings())
    assert not [name for name, _ in text.tower.named_parameters() if name.startswith("visual")]


def test_built_from_the_settings(weights: Weights, images: list[Image.Image], tmp_path: Path) -> None:
    settings = load_layers({}, flags=flags(weights, tmp_path, "image_encoder", "options.images_per_call=2")).common()
    assert image_encoder(settings).encode_images(images).shape == (5, clip.MODEL["embed_dim"])
    settings = load_layers({}, flags=flags(weights, tmp_path, "text_encoder", "options.texts_per_call=2")).common()
    assert text_encoder(settings).encode_texts(TEXTS).shape == (5, clip.MODEL["embed_dim"])


def test_a_micro_batch_of_nothing_is_refused(weights: Weights, tmp_path: Path) -> None:
    settings = load_layers({}, flags=flags(weights, tmp_path, "image_encoder", "options.images_per_call=0")).common()
    with pytest.raises(ConfigurationError, match=r"models.image_encoder.options.*images_per_call.*greater than 0"):
        image_encoder(settings)


def test_without_a_config_beside_the_weights_the_option_names_the_architecture(
    copied: Weights, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_config = ClipImageEncoder(copied, ComputeSettings()).encode_images(images)
    (copied.folder / CONFIG).unlink()
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-quickgelu", clip.MODEL)
    named = ClipImageEncoder(copied, ComputeSettings(), model="tiny-quickgelu").encode_images(images)
    assert np.array_equal(named, with_config)


def test_an_older_file_of_tensors_is_read_too(copied: Weights, images: list[Image.Image]) -> None:
    before = ClipImageEncoder(copied, ComputeSettings()).encode_images(images)
    torch.save(load_file(copied.folder / TENSORS), copied.folder / PICKLE)
    (copied.folder / TENSORS).unlink()
    assert np.array_equal(ClipImageEncoder(copied, ComputeSettings()).encode_images(images), before)


class Malicious:
    """Unpickled without limits, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_pickle_of_more_than_tensors_is_refused(copied: Weights, tmp_path: Path) -> None:
    (copied.folder / TENSORS).unlink()
    (copied.folder / PICKLE).write_bytes(pickle.dumps(Malicious(tmp_path / "written"), protocol=2))
    assert "only tensors are ever unpickled" in refusal(copied)
    assert not (tmp_path / "written").exists()


def test_missing_weights(copied: Weights) -> None:
    (copied.folder / TENSORS).unlink()
    assert refusal(copied) == f"weights of tiny/clip: {copied.folder / TENSORS} is missing"


def test_truncated_weights(copied: Weights) -> None:
    path = copied.folder / TENSORS
    path.write_bytes(path.read_bytes()[:-100])
    assert "SafetensorError" in refusal(copied)


def spoil(copied: Weights, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(copied.folder / TENSORS)
    change(tensors)
    save_file(tensors, copied.folder / TENSORS)


def test_a_missing_tensor(copied: Weights) -> None:
    spoil(copied, lambda tensors: tensors.pop("visual.proj"))
    assert 'Missing key(s) in state_dict: "visual.proj"' in refusal(copied)


def test_a_tensor_too_many(copied: Weights) -> None:
    spoil(copied, lambda tensors: tensors.update({"visual.more": torch.zeros(1)}))
    assert 'Unexpected key(s) in state_dict: "visual.more"' in refusal(copied)


def test_position_embeddings_of_another_size_are_not_stretched(copied: Weights) -> None:
    spoil(copied, lambda tensors: tensors.update({"visual.positional_embedding": torch.zeros(26, 48)}))
    assert "size mismatch for visual.positional_embedding" in refusal(copied)


def test_a_config_with_more_layers_than_the_weights(copied: Weights) -> None:
    model = deepcopy(clip.MODEL)
    model["text_cfg"]["layers"] = 3
    clip.save_config(copied.folder, model)
    assert "transformer.resblocks.2" in refusal(copied)


def test_gelu_is_refused_where_the_option_asks_for_quick_gelu(copied: Weights) -> None:
    clip.save_config(copied.folder, {**clip.MODEL, "quick_gelu": False})
    assert refusal(copied) == (
        f"{copied.folder / CONFIG}: the model is one with GELU, expected QuickGELU as in 'ViT-B-32-quickgelu'"
    )
    # Whoever means it says so.
    ClipImageEncoder(copied, ComputeSettings(), model="ViT-B-32")


@pytest.mark.parametrize(
    ("tower", "key"),
    [("text_cfg", "hf_model_name"), ("text_cfg", "hf_tokenizer_name"), ("vision_cfg", "timm_model_name")],
)
def test_towers_that_open_clip_would_fetch_are_refused(copied: Weights, tower: str, key: str) -> None:
    model = deepcopy(clip.MODEL)
    model[tower][key] = "owner/name"
    clip.save_config(copied.folder, model)
    assert refusal(copied) == (
        f"{copied.folder / CONFIG}: found `{key}`, expected towers and a tokenizer of open_clip's own"
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"model_cfg": []}', '{"model_cfg": {"vision_cfg": 3, "text_cfg": {}}}'])
def test_a_config_that_is_none(copied: Weights, text: str) -> None:
    (copied.folder / CONFIG).write_text(text)
    assert refusal(copied).startswith(f"weights of tiny/clip in {copied.folder}: ")


def test_an_unknown_model_is_refused(weights: Weights) -> None:
    with pytest.raises(ConfigurationError, match=r"option `model`: found 'ViT-B-33', expected a model of open_clip"):
        ClipTextEncoder(weights, ComputeSettings(), model="ViT-B-33")


def flags(weights: Weights, tmp_path: Path, role: str, option: str) -> Sequence[str]:
    return [
        f"weights.folder={tmp_path}",
        f"models.{role}.adapter=clip",
        f"models.{role}.weights={json.dumps({'id': weights.id, 'path': str(weights.folder)})}",
        f"models.{role}.{option}",
    ]


def refusal(weights: Weights) -> str:
    """The one line that both encoders refuse a folder with."""
    lines = set()
    for encoder in (ClipImageEncoder, ClipTextEncoder):
        with pytest.raises(ConfigurationError) as caught:
            encoder(weights, ComputeSettings())
        lines.add(str(caught.value))
    (line,) = lines
    assert "\n" not in line
    return line
