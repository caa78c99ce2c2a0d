import time

import pytest
from PIL import Image

from common.models.protocols import DifferenceRequest, RegionRequest
from common.models.sketch.describers import SketchDifferenceDescriber, SketchRegionDescriber
from common.models.sketch.truth import Defect
from common.models.sketch.vocabulary import CONCEPTS
from schemas.geometry import Box
from tests.common.models.sketch.cases import Case, cases, draw
from tests.common.models.sketch.regions import marked

KINDS = {concept.name: concept.kind for concept in CONCEPTS}


def _box(values: list[int]) -> Box:
    x0, y0, x1, y1 = values
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, width=256, height=256)


def _describer(wrong: float = 0, vague: float = 0) -> SketchRegionDescriber:
    return SketchRegionDescriber(wrong_description_rate=wrong, vague_description_rate=vague)


def _both(describer: SketchRegionDescriber, case: Case, seed: int = 1) -> list[str]:
    pair = draw(case)
    box = _box(pair.truth["boxes"][0])
    sides = describer.describe_regions([RegionRequest(picture, [box], [seed]) for picture in (pair.first, pair.second)])
    return [descriptions[0].text for descriptions in sides]


def _say(first: Image.Image, second: Image.Image, left: str, right: str, seed: int = 1) -> str:
    composite = Image.new("RGB", (first.width + second.width, first.height))
    request = DifferenceRequest(first, second, composite, left, right, seed)
    return SketchDifferenceDescriber().describe_differences([request])[0].text


def test_a_region_is_described_by_what_it_shows() -> None:
    hits = [
        name in text
        for case in cases(60)
        for text, name in zip(_both(_describer(), case), (case.first, case.second), strict=True)
    ]
    assert sum(hits) / len(hits) >= 0.97


def test_colour_and_ground_are_seen() -> None:
    case = Case("A purple dog on the beach.", "A purple cat on the beach.", "dog", "cat", 1)
    assert _both(_describer(), case) == ["a purple dog on a sandy beach", "a purple cat on a sandy beach"]


def test_a_bare_region_is_called_so() -> None:
    pair = draw(cases(1)[0], Defect.DRAWN_TWICE)
    request = RegionRequest(pair.first, [_box(pair.truth["extra_boxes"][0])], [1])
    assert _describer().describe_regions([request])[0][0].text == "an empty patch of green grass"


def test_one_seed_goes_wrong_in_the_same_way_on_both_sides() -> None:
    for case in cases(20):
        wrong = _both(_describer(wrong=1), case)
        assert case.first not in wrong[0].split()
        assert case.second not in wrong[1].split()
        assert _both(_describer(vague=1), case) == [KINDS[case.first].phrase, KINDS[case.second].phrase]


def test_descriptions_depend_on_their_own_box_and_seed_alone() -> None:
    pair = draw(cases(1)[0])
    boxes = [_box(pair.truth["boxes"][0]), _box([0, 0, 1, 1]), _box([0, 0, 256, 256])]
    describer = SketchRegionDescriber(wrong_description_rate=0.5, vague_description_rate=0.2)
    together = describer.describe_regions([RegionRequest(pair.first, boxes, [1, 2, 3])])[0]
    for index, box in enumerate(boxes):
        alone = describer.describe_regions([RegionRequest(pair.first, [box], [index + 1])])[0][0]
        assert alone == together[index]


def test_the_answer_rests_on_descriptions_that_the_pixels_bear_out() -> None:
    case = cases(1)[0]
    pair = draw(case)
    first, second = (marked(picture, _box(pair.truth["boxes"][0])) for picture in (pair.first, pair.second))
    answer = _say(first, second, f"a red {case.first}", f"a blue {case.second}")
    assert f"red {case.first}" in answer
    assert f"blue {case.second}" in answer


def test_the_answer_contradicts_descriptions_that_the_pixels_contradict() -> None:
    case = cases(1)[0]
    pair = draw(case)
    first, second = (marked(picture, _box(pair.truth["boxes"][0])) for picture in (pair.first, pair.second))
    for left, right in (("a red anchor", "a red anchor"), ("", "something")):
        answer = _say(first, second, left, right)
        assert case.first in answer
        assert case.second in answer


@pytest.mark.parametrize("size", [(1, 1), (40, 40)])
def test_without_a_red_box_the_descriptions_are_all_there_is(size: tuple[int, int]) -> None:
    plain = Image.new("RGB", size, (10, 200, 30))
    answer = _say(plain, plain, "a red dog", "")
    assert "a red dog" in answer
    assert "nothing" in answer


def test_a_picture_all_red_has_no_box() -> None:
    red = Image.new("RGB", (20, 20), (255, 0, 0))
    assert "a dog" in _say(red, red, "a dog", "a cat")


def test_seeds_vary_the_wording_and_nothing_else() -> None:
    plain = Image.new("RGB", (40, 40))
    answers = {_say(plain, plain, "a dog", "a cat", seed) for seed in range(20)}
    assert len(answers) == 3
    assert all("a dog" in answer and "a cat" in answer for answer in answers)


def test_a_delay_is_waited_for_once_a_call() -> None:
    slow = SketchRegionDescriber(delay_s=0.05)
    start = time.monotonic()
    slow.describe_regions([])
    assert time.monotonic() - start >= 0.05
