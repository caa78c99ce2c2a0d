"""LLaVA-NeXT's describers against `generate` for one picture and one question at a time, token for token in float32."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from common.models.llava_next.difference_describer import LlavaNextDifferenceDescriber
from common.models.llava_next.region_describer import LlavaNextRegionDescriber
from common.models.prompts import Decoding, Prompt, box_text
from common.models.protocols import DifferenceRequest, RegionRequest
from common.models.weights import Weights
from common.settings import ComputeSettings
from schemas.geometry import Box
from tests.tiny import llava

DECODING = Decoding(max_new_tokens=12)
SIZES = [(160, 160), (200, 90), (90, 170)]
"""Of pictures that are cut into different numbers of tiles, and so have different numbers of tokens."""


class OneByOne:
    """A picture and the finished prompt in, the reply out: the whole model on the whole input, nothing kept."""

    def __init__(self, folder: Path) -> None:
        self._processor = AutoProcessor.from_pretrained(folder, backend="pil")
        self.model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()

    def reply(self, image: Image.Image, text: str) -> str:
        inputs = self._processor(images=image, text=text, return_tensors="pt")
        tokens = self.model.generate(**inputs, max_new_tokens=DECODING.max_new_tokens, do_sample=False)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        reply: str = self._processor.tokenizer.decode(new, skip_special_tokens=True)
        return reply.strip()

    def regions(self, requests: Sequence[RegionRequest]) -> list[list[str]]:
        return [
            [self.reply(request.image, asked(llava.REGION_PROMPT, box=box_text(box))) for box in request.boxes]
            for request in requests
        ]

    def differences(self, requests: Sequence[DifferenceRequest]) -> list[str]:
        return [
            self.reply(
                each.composite,
                asked(llava.DIFFERENCE_PROMPT, first=each.first_description, second=each.second_description),
            )
            for each in requests
        ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("llava")
    llava.save(folder)
    return Weights("tiny/llava", "1", folder)


@pytest.fixture(scope="module")
def one_by_one(weights: Weights) -> OneByOne:
    return OneByOne(weights.folder)


def picture(number: int, size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def boxes(size: tuple[int, int], count: int) -> list[Box]:
    width, height = size
    corners = [
        (0.0, 0.0, 0.5, 0.5),
        (0.25, 0.1, 0.9, 0.6),
        (0.0, 0.5, 1.0, 1.0),
        (0.6, 0.6, 0.8, 0.95),
        (0.0, 0.0, 1.0, 1.0),
    ]
    return [
        Box(x0=x0 * width, y0=y0 * height, x1=x1 * width, y1=y1 * height, width=width, height=height)
        for x0, y0, x1, y1 in corners[:count]
    ]


def asked(prompt: Prompt, **values: str) -> str:
    """The conversation written down by hand, as LLaVA 1.6 on Vicuna was trained on it."""
    return f"{prompt.system} USER: <image>\n{prompt.fill(values)} ASSISTANT:"


REQUESTS = [
    RegionRequest(picture(number, size), boxes(size, count), list(range(count)))
    for number, (size, count) in enumerate(zip(SIZES, (5, 1, 3), strict=True))
]


def captions_of(describer: LlavaNextRegionDescriber, requests: Sequence[RegionRequest]) -> list[list[str]]:
    return [[each.text for each in own] for own in describer.describe_regions(requests)]


def describer_of(weights: Weights, row_tokens: int = 10_000) -> LlavaNextRegionDescriber:
    return LlavaNextRegionDescriber(
        weights,
        ComputeSettings(),
        prompt=llava.REGION_PROMPT,
        template=llava.VICUNA_V1,
        decoding=DECODING,
        kv_bytes=row_tokens * BYTES_PER_TOKEN,
    )


@pytest.fixture(scope="module")
def expected(one_by_one: OneByOne) -> list[list[str]]:
    return one_by_one.regions(REQUESTS)


BYTES_PER_TOKEN = 2 * 3 * 2 * 16 * 4
"""Keys and values, 3 layers, 2 heads of 16 numbers, float32."""


@pytest.mark.parametrize("row_tokens", [1, 400, 600, 10_000])
def test_captions_of_regions_are_those_of_separate_calls(
    weights: Weights, expected: list[list[str]], row_tokens: int
) -> None:
    """One row per batch, rows of one picture, of several pictures with different numbers of tokens, all at once."""
    assert captions_of(describer_of(weights, row_tokens), REQUESTS) == expected


def test_captions_are_the_same_when_a_batch_boundary_cuts_the_boxes_of_a_picture(
    weights: Weights, expected: list[list[str]]
) -> None:
    describer = describer_of(weights)
    first = REQUESTS[0]
    parts = [RegionRequest(first.image.copy(), first.boxes[i:j], first.seeds[i:j]) for i, j in ((0, 2), (2, 5))]
    captions = [caption for part in parts for own in captions_of(describer, [part]) for caption in own]
    assert captions == expected[0]


def test_rows_end_at_their_own_time(weights: Weights, one_by_one: OneByOne, expected: list[list[str]]) -> None:
    """Tokens that some captions have are made the end of the text: rows of one batch then differ in length."""
    describer = describer_of(weights)
    ends = [2, *range(259, 320)]
    usual = one_by_one.model.generation_config.eos_token_id
    describer.llava.model.generation_config.eos_token_id = one_by_one.model.generation_config.eos_token_id = ends
    try:
        cut = one_by_one.regions(REQUESTS)
    finally:
        one_by_one.model.generation_config.eos_token_id = usual
    assert captions_of(describer, REQUESTS) == cut
    assert len({len(caption) for own in cut for caption in own}) > 2
    assert cut != expected


def test_another_picture_or_box_gives_another_caption(expected: list[list[str]], one_by_one: OneByOne) -> None:
    """The negative controls: what is compared above depends on both."""
    (elsewhere,) = one_by_one.regions([replace(REQUESTS[0], image=picture(99, SIZES[0]))])
    assert all(a != b for a, b in zip(elsewhere, expected[0], strict=True))
    assert len(set(expected[0])) == len(expected[0])


def difference(number: int, first: str, second: str) -> DifferenceRequest:
    composite = picture(number, SIZES[number % len(SIZES)])
    return DifferenceRequest(composite, composite, composite, first, second, seed=number)


DIFFERENCES = [
    difference(0, "a brown dog", "a cat"),
    difference(1, "a red car in a green tree", "a grey horse, few words"),
    difference(2, "a bird", "a horse"),
    difference(3, "a cat", "a brown dog"),
    difference(4, "a white bird", "no bird"),
]


@pytest.mark.parametrize("row_tokens", [1, 500, 10_000])
def test_captions_of_differences_are_those_of_separate_calls(
    weights: Weights, one_by_one: OneByOne, row_tokens: int
) -> None:
    describer = LlavaNextDifferenceDescriber(
        weights,
        ComputeSettings(),
        prompt=llava.DIFFERENCE_PROMPT,
        template=llava.VICUNA_V1,
        decoding=DECODING,
        kv_bytes=row_tokens * BYTES_PER_TOKEN,
    )
    one = one_by_one.differences(DIFFERENCES)
    assert [each.text for each in describer.describe_differences(DIFFERENCES)] == one
    assert len(set(one)) == len(one)
    swapped = [
        replace(each, first_description=each.second_description, second_description=each.first_description)
        for each in DIFFERENCES
    ]
    elsewhere = [replace(each, composite=picture(99, each.composite.size)) for each in DIFFERENCES]
    for control in (swapped, elsewhere):
        texts = [each.text for each in describer.describe_differences(control)]
        assert all(a != b for a, b in zip(texts, one, strict=True))
