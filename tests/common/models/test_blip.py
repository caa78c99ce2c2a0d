"""BLIP's matchers: what may be asked of them, how often they look, and the folders that they refuse."""

import json
import pickle
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BlipForConditionalGeneration, CLIPConfig

from common.models.blip import BlipItcMatcher, BlipItmMatcher
from common.models.protocols import MatchScale
from common.models.registry import image_text_matcher
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings, load_layers
from schemas.trail import ModelId
from tests.tiny import blip

TENSORS = "model.safetensors"

WORDS = ["cat", "dog", "a cat on a red sofa"]

Matcher = BlipItcMatcher | BlipItmMatcher


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip")
    blip.save(folder)
    return folder


@pytest.fixture(scope="module")
def weights(saved: Path) -> Weights:
    return Weights("tiny/blip", "abc", saved)


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Weights:
    """Weights that a test may spoil."""
    folder = tmp_path / "blip"
    shutil.copytree(saved, folder)
    return Weights("tiny/blip", "abc", folder)


@pytest.fixture(scope="module")
def crops() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    sizes = [(64, 48), (20, 33), (32, 32), (90, 41), (35, 35)]
    return [Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


@pytest.fixture(scope="module", params=[BlipItcMatcher, BlipItmMatcher])
def matcher(request: pytest.FixtureRequest, weights: Weights) -> Matcher:
    built: Matcher = request.param(weights, ComputeSettings(), images_per_call=2)
    return built


def encodes(module: Any, work: Callable[[], object]) -> list[int]:
    """How many rows each call of the module had."""
    rows: list[int] = []

    def count(_: Any, args: Sequence[Any], given: dict[str, Any]) -> None:
        rows.append(len(next(iter([*args, *given.values()]))))

    with module.register_forward_pre_hook(count, with_kwargs=True):
        work()
    return rows


def test_a_crop_is_encoded_once_for_all_its_words(matcher: Matcher, crops: list[Image.Image]) -> None:
    texts = [WORDS, WORDS[:1], WORDS, WORDS[1:], WORDS]
    assert encodes(matcher.model.vision_model, lambda: matcher.match(crops, texts)) == [2, 2, 1]


def test_a_crop_without_words_is_not_encoded(matcher: Matcher, crops: list[Image.Image]) -> None:
    texts: list[list[str]] = [[], WORDS, [], [], []]
    assert encodes(matcher.model.vision_model, lambda: matcher.match(crops, texts)) == [1]
    assert [len(own) for own in matcher.match(crops, texts)] == [0, 3, 0, 0, 0]


def test_warming_up_tries_a_full_micro_batch_on_a_gpu_and_one_crop_on_a_cpu(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encodes(matcher.model.vision_model, matcher.warm_up) == [1]
    monkeypatch.setattr("common.models.blip.trial_size", lambda size, _: size)
    assert encodes(matcher.model.vision_model, matcher.warm_up) == [2]
    full = 256 if isinstance(matcher, BlipItcMatcher) else 64
    assert encodes(matcher.model.text_encoder, matcher.warm_up)[0] == full


@pytest.mark.parametrize("kind", [BlipItcMatcher, BlipItmMatcher])
def test_all_of_the_model_lies_on_the_device(
    kind: type[Matcher], weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.models.blip.device_of", lambda _: torch.device("meta"))
    model = kind(weights, ComputeSettings()).model
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"meta"}


def test_nothing_to_match(matcher: Matcher, crops: list[Image.Image]) -> None:
    assert matcher.match([], []) == []
    assert matcher.match(crops[:2], [[], []]) == [[], []]


def test_every_crop_needs_its_texts(matcher: Matcher, crops: list[Image.Image]) -> None:
    with pytest.raises(ValueError, match="zip"):
        matcher.match(crops, [WORDS])


def test_the_cosine_reads_each_text_once(weights: Weights, crops: list[Image.Image]) -> None:
    matcher = BlipItcMatcher(weights, ComputeSettings(), texts_per_call=2)
    assert encodes(matcher.model.text_encoder, lambda: matcher.match(crops, [WORDS] * 5)) == [2, 1]


def test_the_head_reads_each_text_with_each_crop(weights: Weights, crops: list[Image.Image]) -> None:
    matcher = BlipItmMatcher(weights, ComputeSettings(), images_per_call=3, pairs_per_call=4)
    # 3 crops with 3 texts each, then 2: no micro-batch of texts has more rows than asked for.
    assert encodes(matcher.model.text_encoder, lambda: matcher.match(crops, [WORDS] * 5)) == [4, 4, 1, 4, 2]


def test_a_score_does_not_depend_on_what_shares_its_batch(matcher: Matcher, crops: list[Image.Image]) -> None:
    together = np.array(matcher.match(crops, [WORDS] * 5))
    apart = np.array([[matcher.match([crop], [[word]])[0][0] for word in WORDS] for crop in crops])
    assert np.abs(together - apart).max() < 1e-6


def test_half_precision_is_near(matcher: Matcher, weights: Weights, crops: list[Image.Image]) -> None:
    exact = np.array(matcher.match(crops, [WORDS] * 5))
    for dtype, near in (("float16", 0.01), ("bfloat16", 0.05)):
        scores = np.array(type(matcher)(weights, ComputeSettings(dtype=dtype)).match(crops, [WORDS] * 5))
        assert 0 < np.abs(scores - exact).max() < near


def test_scores_lie_on_their_scales(weights: Weights, crops: list[Image.Image]) -> None:
    cosines = BlipItcMatcher(weights, ComputeSettings())
    probabilities = BlipItmMatcher(weights, ComputeSettings())
    assert (cosines.scale, probabilities.scale) == (MatchScale.ITC_COSINE, MatchScale.ITM_PROBABILITY)
    assert all(-1 <= score <= 1 for own in cosines.match(crops, [WORDS] * 5) for score in own)
    assert all(0 <= score <= 1 for own in probabilities.match(crops, [WORDS] * 5) for score in own)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 1), (2, 3)])
def test_crops_of_any_size(matcher: Matcher, size: tuple[int, int]) -> None:
    ((black,), (white,)) = matcher.match([Image.new("RGB", size), Image.new("RGB", size, "white")], [["cat"], ["cat"]])
    assert abs(black - white) > 1e-3


def test_a_text_is_cut_after_the_last_place(matcher: Matcher, crops: list[Image.Image]) -> None:
    whole, longer, shorter = (" ".join(["cat"] * words) for words in (blip.PLACES - 2, 200, blip.PLACES - 3))
    ((first, second, third),) = matcher.match(crops[:1], [[whole, longer, shorter]])
    assert abs(first - second) < 1e-6
    assert abs(first - third) > 1e-4


def test_crops_are_matched_from_memory(
    matcher: Matcher, crops: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    matcher.match(crops, [WORDS] * 5)
    assert not list(tmp_path.iterdir())


def test_identity(weights: Weights) -> None:
    matcher = BlipItmMatcher(weights, ComputeSettings(dtype="float16"), images_per_call=8, pairs_per_call=16)
    assert matcher.identity == ModelId(
        role="ImageTextMatcher",
        id="tiny/blip",
        revision="abc",
        variant="float16, 8 images and 16 pairs per call",
    )


@pytest.mark.parametrize(
    ("adapter", "scale"), [("blip_itc", MatchScale.ITC_COSINE), ("blip_itm", MatchScale.ITM_PROBABILITY)]
)
def test_built_from_the_settings(
    weights: Weights, crops: list[Image.Image], tmp_path: Path, adapter: str, scale: MatchScale
) -> None:
    flags = [
        f"weights.folder={tmp_path}",
        f"models.image_text_matcher.adapter={adapter}",
        f"models.image_text_matcher.weights={json.dumps({'id': weights.id, 'path': str(weights.folder)})}",
        "models.image_text_matcher.options.images_per_call=2",
    ]
    built = image_text_matcher(load_layers({}, flags=flags).common())
    assert built.scale is scale
    assert [len(own) for own in built.match(crops, [WORDS] * 5)] == [3] * 5
    with pytest.raises(ConfigurationError, match=r"models.image_text_matcher.options.*images_per_call.*greater than 0"):
        image_text_matcher(
            load_layers({}, flags=[*flags, "models.image_text_matcher.options.images_per_call=0"]).common()
        )


def test_an_older_file_of_tensors_is_read_too(copied: Weights, crops: list[Image.Image]) -> None:
    before = BlipItcMatcher(copied, ComputeSettings()).match(crops, [WORDS] * 5)
    torch.save(load_file(copied.folder / TENSORS), copied.folder / "pytorch_model.bin")
    (copied.folder / TENSORS).unlink()
    assert BlipItcMatcher(copied, ComputeSettings()).match(crops, [WORDS] * 5) == before


class Malicious:
    """Unpickled without limits, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_pickle_of_more_than_tensors_is_refused(copied: Weights, tmp_path: Path) -> None:
    (copied.folder / TENSORS).unlink()
    (copied.folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(tmp_path / "written"), protocol=2))
    assert "only tensors are ever unpickled" in refusal(copied)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_missing_config(copied: Weights, name: str) -> None:
    (copied.folder / name).unlink()
    assert refusal(copied) == f"weights of tiny/blip: {copied.folder / name} is missing"


def test_missing_weights(copied: Weights) -> None:
    (copied.folder / TENSORS).unlink()
    assert refusal(copied).startswith(f"weights of tiny/blip in {copied.folder}: ")


def test_a_missing_vocabulary_is_not_replaced_by_an_empty_one(copied: Weights) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (copied.folder / name).unlink()
    assert refusal(copied) == (
        f"weights of tiny/blip: no vocabulary in {copied.folder}, expected tokenizer.json or vocab.txt"
    )


@pytest.mark.parametrize("kept", ["tokenizer.json", "vocab.txt"])
def test_one_vocabulary_is_enough(copied: Weights, crops: list[Image.Image], kept: str) -> None:
    before = BlipItcMatcher(copied, ComputeSettings()).match(crops, [WORDS] * 5)
    for name in {"tokenizer.json", "vocab.txt"} - {kept}:
        (copied.folder / name).unlink()
    assert BlipItcMatcher(copied, ComputeSettings()).match(crops, [WORDS] * 5) == before


def test_the_tokenizer_of_a_larger_model(copied: Weights) -> None:
    (copied.folder / "tokenizer.json").unlink()
    with (copied.folder / "vocab.txt").open("a") as vocabulary:
        vocabulary.writelines(f"word{number}\n" for number in range(50))
    assert "found a tokenizer of " in refusal(copied)


def test_pictures_of_another_size(copied: Weights) -> None:
    path = copied.folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "size": {"height": 40, "width": 40}}))
    assert refusal(copied) == f"{path}: found pictures of 40x40, expected 48x48 as in config.json"


def test_truncated_weights(copied: Weights) -> None:
    path = copied.folder / TENSORS
    path.write_bytes(path.read_bytes()[:-100])
    assert "SafetensorError" in refusal(copied)


def test_a_model_of_another_family(copied: Weights) -> None:
    (copied.folder / "config.json").write_text(CLIPConfig().to_json_string())
    assert "found a model of the type 'clip', expected 'blip'" in refusal(copied)


def test_a_blip_without_the_heads_of_a_matcher(copied: Weights) -> None:
    BlipForConditionalGeneration(blip.config(words=100)).save_pretrained(copied.folder)
    assert "lacks tensors of the model" in refusal(copied)


def test_a_checkpoint_that_is_deeper_than_its_config(copied: Weights) -> None:
    config = json.loads((copied.folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 1
    (copied.folder / "config.json").write_text(json.dumps(config))
    assert "tensors that the model lacks, such as vision_model.encoder.layers.1." in refusal(copied)


def test_tensors_of_other_shapes(copied: Weights) -> None:
    tensors = load_file(copied.folder / TENSORS)
    tensors["itm_head.weight"] = torch.zeros(2, 31)
    save_file(tensors, copied.folder / TENSORS, metadata={"format": "pt"})
    assert refusal(copied).startswith(f"weights of tiny/blip in {copied.folder}: ")


def refusal(weights: Weights) -> str:
    """The one line that a folder is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        BlipItcMatcher(weights, ComputeSettings())
    line = str(caught.value)
    assert "\n" not in line
    return line
