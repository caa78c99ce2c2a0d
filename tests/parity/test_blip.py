"""BLIP's two scores held to transformers' own forward, called with one picture and one text at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

from common.models.blip import BlipItcMatcher, BlipItmMatcher
from common.models.weights import Weights
from common.settings import ComputeSettings
from tests.tiny import blip

TOLERANCE = 1e-5
CONTROL = 100 * TOLERANCE
"""What is wrong has to lie at least this far off."""

Scores = Sequence[Sequence[float]]
Case = tuple[BlipItcMatcher | BlipItmMatcher, bool]

SIZES = [(20, 20), (33, 50), (120, 31), (7, 9), (48, 48), (1, 6)]

TEXTS = [
    ["cat", "dog", "a cat on a red sofa"],
    ["cat"],
    [],
    ["a person with two dogs", "dog", "cat", "horse", "zebra crossing"],
    ["the horse " * 20],
    ["a cat on a red sofa", "cat", "two"],
]
"""Of unequal lengths, some with several pictures, one for none; one has more tokens than the model has places."""


class Reference:
    """transformers' model, processor and tokenizer, used as its documentation does."""

    def __init__(self, weights: Weights, backend: str = "pil") -> None:
        self.model = BlipForImageTextRetrieval.from_pretrained(weights.folder).eval()
        self.processor = AutoImageProcessor.from_pretrained(weights.folder, backend=backend)
        self.tokenizer = AutoTokenizer.from_pretrained(weights.folder)

    @torch.no_grad()
    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]], use_itm_head: bool) -> Scores:
        return [
            [self._score(image, text, use_itm_head) for text in own] for image, own in zip(images, texts, strict=True)
        ]

    def _score(self, image: Image.Image, text: str, use_itm_head: bool) -> float:
        pixels = self.processor(image, return_tensors="pt").pixel_values
        tokens = self.tokenizer(text, truncation=True, max_length=blip.PLACES, return_tensors="pt")
        score = self.model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            pixel_values=pixels,
            use_itm_head=use_itm_head,
        ).itm_score
        return float(score.softmax(dim=-1)[0, 1] if use_itm_head else score[0, 0])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("blip")
    blip.save(folder)
    return Weights("tiny/blip", "main", folder)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in SIZES]


@pytest.fixture(scope="module", params=[False, True], ids=["itc", "itm"])
def case(request: pytest.FixtureRequest, weights: Weights) -> Case:
    """One matcher, in micro-batches that cut through a picture's texts, and the flag of its score in transformers."""
    if request.param:
        return BlipItmMatcher(weights, ComputeSettings(), images_per_call=2, pairs_per_call=3), True
    return BlipItcMatcher(weights, ComputeSettings(), images_per_call=2, texts_per_call=3), False


def test_scores_are_those_of_the_pairs(case: Case, weights: Weights, images: list[Image.Image]) -> None:
    matcher, use_itm_head = case
    found = matcher.match(images, TEXTS)
    assert [len(own) for own in found] == [len(own) for own in TEXTS]
    assert error(found, Reference(weights).scores(images, TEXTS, use_itm_head)) < TOLERANCE


def test_the_wrong_picture_and_the_wrong_text_are_told_apart(case: Case, images: list[Image.Image]) -> None:
    matcher, _ = case
    texts = ["cat", "a cat on a red sofa", "two dogs"]
    scores = np.array(matcher.match(images, [texts] * len(images)))
    for one in range(len(images)):
        for other in range(one):
            assert np.abs(scores[one] - scores[other]).max() / np.abs(scores).max() > CONTROL
    for one in range(len(texts)):
        for other in range(one):
            assert np.abs(scores[:, one] - scores[:, other]).max() / np.abs(scores).max() > CONTROL


def test_the_other_score_is_told_apart(case: Case, weights: Weights, images: list[Image.Image]) -> None:
    matcher, use_itm_head = case
    other = Reference(weights).scores(images, TEXTS, not use_itm_head)
    assert error(matcher.match(images, TEXTS), other) > CONTROL


def test_the_other_backend_of_the_preprocessing_is_told_apart(
    case: Case, weights: Weights, images: list[Image.Image]
) -> None:
    matcher, use_itm_head = case
    other = Reference(weights, backend="torchvision").scores(images, TEXTS, use_itm_head)
    assert error(matcher.match(images, TEXTS), other) > CONTROL


def test_padding_that_is_read_is_told_apart(case: Case, weights: Weights, images: list[Image.Image]) -> None:
    matcher, use_itm_head = case
    reference = Reference(weights)
    reference.tokenizer = padded(reference.tokenizer)
    assert error(matcher.match(images, TEXTS), reference.scores(images, TEXTS, use_itm_head)) > CONTROL


def padded(tokenizer: Any) -> Any:
    """As long as the model takes, with nothing masked."""

    def tokens(text: str, **how: Any) -> Any:
        found = tokenizer(text, padding="max_length", **how)
        found["attention_mask"] = torch.ones_like(found["attention_mask"])
        return found

    return tokens


def error(found: Scores, expected: Scores) -> float:
    ours, theirs = (np.array([score for own in scores for score in own]) for scores in (found, expected))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
