"""The yes/no judge on tiny checkpoints: its score from the definition, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    LlavaNextForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from common.models import registry
from common.models.naturalness import ChatNaturalnessJudge
from common.models.prompts import Prompt
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings, load_layers
from tests.tiny import llava, qwen2_vl

PROMPT = Prompt(text="Is this natural, yes or no?", system=llava.SYSTEM)
ASKED = f"{llava.SYSTEM} USER: <image>\n{PROMPT.text} ASSISTANT:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = tmp_path_factory.mktemp("llava")
    llava.save(saved)
    return saved


def judge_of(folder: Path, **options: Any) -> ChatNaturalnessJudge:
    given = {"prompt": PROMPT, "template": llava.VICUNA_V1, **options}
    return ChatNaturalnessJudge(Weights("tiny/llava", "7", folder), ComputeSettings(), **given)


def composite(number: int) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(((180, 80), (120, 120))[number % 2], Image.Resampling.BICUBIC)


COMPOSITES = [composite(number) for number in range(5)]


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[float]:
    """From the definition, a picture at a time: the probabilities of the tokens ` yes` and ` no` after the question."""
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return [share_of_yes(model, processor, image, ASKED) for image in COMPOSITES]


def share_of_yes(model: Any, processor: Any, image: Image.Image, asked: str) -> float:
    with torch.inference_mode():
        logits = model(**processor(images=image, text=asked, return_tensors="pt")).logits[0, -1].double()
    yes, no = (float(logits.softmax(-1)[processor.tokenizer.convert_tokens_to_ids(word)]) for word in ("▁yes", "▁no"))
    return yes / (yes + no)


@pytest.mark.parametrize("images_per_call", [1, 3, 8])
def test_the_score_is_the_share_of_yes_in_the_first_token(
    folder: Path, expected: list[float], images_per_call: int
) -> None:
    found = judge_of(folder, images_per_call=images_per_call).judge(COMPOSITES)
    assert found == pytest.approx(expected, abs=1e-5)
    assert all(0 < share < 1 for share in found)


def test_another_picture_or_question_gives_another_score(folder: Path, expected: list[float]) -> None:
    """The negative controls, 100 times the tolerance away."""
    judge = judge_of(folder, prompt=Prompt(text="Is this a dog, yes or no?", system=llava.SYSTEM))
    assert min(abs(a - b) for a, b in zip(judge.judge(COMPOSITES), expected, strict=True)) > 1e-3
    assert min(abs(a - b) for i, a in enumerate(expected) for b in expected[:i]) > 1e-3


def test_no_pair_costs_nothing_and_a_warm_up_changes_nothing(folder: Path) -> None:
    judge = judge_of(folder, images_per_call=2)
    before = judge.judge(COMPOSITES)
    judge.warm_up()
    assert judge.judge(COMPOSITES) == before
    assert judge.judge([]) == []


def test_the_checkpoints_own_template_serves_where_the_profile_has_none(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    (own / "chat_template.jinja").write_text(llava.VICUNA_V1)
    assert judge_of(own, template=None).judge(COMPOSITES[:2]) == judge_of(folder).judge(COMPOSITES[:2])


def test_a_model_that_reads_videos_too(tmp_path: Path) -> None:
    """Its pictures are prepared by PIL although its videos can not be; a batch gives what each picture gives alone."""
    qwen2_vl.save(tmp_path)
    judge = judge_of(tmp_path, template=None, images_per_call=3)
    processor = AutoProcessor.from_pretrained(tmp_path)
    processor.image_processor = Qwen2VLImageProcessorPil.from_pretrained(tmp_path)
    model = Qwen2VLForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    asked = f"system: {PROMPT.system} user: <|vision_start|><|image_pad|><|vision_end|>{PROMPT.text} assistant:"
    shares = [share_of_yes(model, processor, image, asked) for image in COMPOSITES]
    assert judge.judge(COMPOSITES) == pytest.approx(shares, abs=1e-5)
    assert min(abs(a - b) for i, a in enumerate(shares) for b in shares[:i]) > 1e-3


def refusal(folder: Path, **options: Any) -> str:
    """What the registry says, as a worker's start would."""
    given = {"prompt": {"text": PROMPT.text}, "template": llava.VICUNA_V1, **options}
    model = {
        "adapter": "transformers",
        "weights": {"id": "tiny/llava", "path": str(folder)},
        "options": {name: value for name, value in given.items() if value is not None},
    }
    common = load_layers({}, flags=[f"models.naturalness_judge={json.dumps(model)}"]).common()
    with pytest.raises(ConfigurationError) as refused:
        registry.naturalness_judge(common)
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": None}, "does not have a chat template"),
        ({"template": "USER: yes or no?"}, "Found total 0 <image> tokens and 1 images"),
        ({"template": "{% for %}"}, "`template`: "),
        ({"prompt": {"text": "Is {this} natural?"}}, "expected each of the places none"),
        ({"images_per_call": 0}, "`images_per_call`"),
    ],
)
def test_options_that_do_not_fit_are_one_line(folder: Path, options: dict[str, Any], message: str) -> None:
    line = refusal(folder, **options)
    assert line.startswith("setting `models.naturalness_judge.options`: ")
    assert message in line


def test_broken_weights_are_one_line(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    weights = own / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert refusal(own).startswith("weights of tiny/llava in ")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config["vision_config"], "model_type": "clip_vision_model"}))
    assert refusal(own).startswith("weights of tiny/llava in ")
