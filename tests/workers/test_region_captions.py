"""Region captions: descriptions, text match and text difference."""

from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from common.models.protocols import MatchScale
from common.runtime.errors import ConfigurationError
from common.runtime.stage import Emit, Picture, Reject, Task
from schemas.boxes import DifferenceBox
from schemas.geometry import Box
from schemas.ids import record_id, seed_of
from schemas.record import MAX_TEXT_LENGTH
from schemas.region_captions import RegionCaption
from schemas.scores import Bounds
from tests.workers.fakes import (
    Colour,
    FakeMatcher,
    FakeRegionDescriber,
    FakeTextEncoder,
    around,
    box,
    box_record,
    colour,
    painted,
    picture,
)
from workers.region_captions.reasons import RegionCaptionsReason
from workers.region_captions.settings import RegionCaptionsSettings
from workers.region_captions.stage import RegionCaptionsStage

WHERE = box(20, 10, 40, 30)
PADDED = box(15, 5, 45, 35)
DOG, CAT = colour(1), colour(2)
DOG_TEXT, CAT_TEXT = "a brown dog", "a grey cat"


def pictures(where: Box = WHERE) -> dict[str, Picture]:
    """The dog and the cat fill the box and a margin, so that the padded crop shows them in its corner too."""
    ground = where.grown(5)
    return {side: picture(painted((0, 0, 0), {ground: paint})) for side, paint in (("first", DOG), ("second", CAT))}


def stage(
    first: float = 0.9,
    second: float = 0.9,
    similarity: float = 0.5,
    texts: tuple[str, str] = (DOG_TEXT, CAT_TEXT),
    scale: MatchScale = MatchScale.ITC_COSINE,
    **settings: object,
) -> tuple[RegionCaptionsStage, FakeRegionDescriber, FakeMatcher, FakeTextEncoder]:
    clean = [" ".join(text.split()) for text in texts]
    describer = FakeRegionDescriber({DOG: texts[0], CAT: texts[1]})
    matcher = FakeMatcher({(DOG, clean[0]): first, (CAT, clean[1]): second}, scale)
    encoder = FakeTextEncoder({clean[1]: similarity})
    return (
        RegionCaptionsStage(RegionCaptionsSettings.model_validate(settings), describer, matcher, encoder),
        describer,
        matcher,
        encoder,
    )


def outcome(where: Box = WHERE, /, **arguments: Any) -> Emit[RegionCaption] | Reject:
    built, *_ = stage(**arguments)
    (result,) = built.process([Task(box_record(where), pictures(where))])
    return result


def reason_of(result: Emit[RegionCaption] | Reject) -> str:
    assert isinstance(result, Reject), result
    return result.reason


def test_a_region_passes_with_both_descriptions() -> None:
    result = outcome(texts=(" a brown\ndog ", CAT_TEXT))
    assert isinstance(result, Emit)
    (record,) = result.records
    assert (record.first_description, record.second_description) == (DOG_TEXT, CAT_TEXT)
    assert record.id == record_id("region-captions", box_record(WHERE).id, 0)
    assert record.box == WHERE
    assert result.seed == seed_of(box_record(WHERE).id, "describe")
    assert result.truth == {"first": {"colour": list(DOG)}, "second": {"colour": list(CAT)}}
    assert {name: score.value for name, score in result.scores.items()} == {
        "text_match": 0.9,
        "text_similarity": 0.5,
    }


@pytest.mark.parametrize("bounds", [Bounds(low=0.4), Bounds(low=0.35), Bounds(low=0.4, low_inclusive=True)])
def test_text_match_at_its_bound_on_either_side(bounds: Bounds) -> None:
    for value, passes in around(bounds):
        for sides in (("first",), ("second",), ("first", "second")):
            result = outcome(text_match=bounds, **dict.fromkeys(sides, value))
            assert isinstance(result, Emit) is passes, (value, bounds)
            if not passes:
                assert reason_of(result) == RegionCaptionsReason.TEXT_MISMATCH


@pytest.mark.parametrize(
    "bounds", [Bounds(high=0.85), Bounds(low=0, high=0.8, low_inclusive=True, high_inclusive=True)]
)
def test_text_similarity_at_its_bounds(bounds: Bounds) -> None:
    for value, passes in around(bounds):
        assert isinstance(outcome(similarity=value, text_similarity=bounds), Emit) is passes, (value, bounds)


def test_default_bounds_are_the_papers() -> None:
    settings = RegionCaptionsSettings()
    assert settings.text_match == Bounds(low=0.4)
    assert settings.text_similarity == Bounds(high=0.85)
    assert settings.crop_padding == 5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"texts": (" \n", CAT_TEXT)}, RegionCaptionsReason.EMPTY_DESCRIPTION),
        ({"texts": (DOG_TEXT, "")}, RegionCaptionsReason.EMPTY_DESCRIPTION),
        ({"texts": (DOG_TEXT, "x" * (MAX_TEXT_LENGTH + 1))}, RegionCaptionsReason.DESCRIPTION_TOO_LONG),
        ({"first": 0.1}, RegionCaptionsReason.TEXT_MISMATCH),
        ({"second": 0.1}, RegionCaptionsReason.TEXT_MISMATCH),
        ({"similarity": 0.9}, RegionCaptionsReason.TEXTS_TOO_SIMILAR),
        ({"similarity": -0.1, "text_similarity": Bounds(low=0, high=0.8)}, RegionCaptionsReason.TEXTS_TOO_DIFFERENT),
        ({"first": 0.1, "similarity": 0.9}, RegionCaptionsReason.TEXT_MISMATCH),
        ({"first": 0.1, "similarity": 0.9, "text_similarity_first": True}, RegionCaptionsReason.TEXTS_TOO_SIMILAR),
        ({"first": 0.1, "text_similarity_first": True}, RegionCaptionsReason.TEXT_MISMATCH),
        ({"first": 0.1, "similarity": 0.9, "skip_text_match": True}, RegionCaptionsReason.TEXTS_TOO_SIMILAR),
    ],
)
def test_reasons(arguments: dict[str, Any], reason: RegionCaptionsReason) -> None:
    assert reason_of(outcome(**arguments)) == reason


def test_a_text_as_long_as_a_record_holds_passes() -> None:
    assert isinstance(outcome(texts=(DOG_TEXT, "x" * MAX_TEXT_LENGTH)), Emit)


def test_both_scores_are_kept_whichever_filter_said_no() -> None:
    for result in (outcome(first=0.1), outcome(similarity=0.9)):
        assert isinstance(result, Reject)
        assert set(result.scores) == {"text_match", "text_similarity"}
        assert result.detail == f"{DOG_TEXT} | {CAT_TEXT}"


def test_a_text_match_that_is_skipped_is_measured_against_nothing() -> None:
    result = outcome(first=0.1, skip_text_match=True)
    assert isinstance(result, Emit)
    assert result.scores["text_match"] == Bounds().measure(0.1)


@pytest.mark.parametrize(("padding", "expected"), [(5, (30, 30)), (0, (20, 20)), (15, (50, 40))])
def test_crops_are_padded_and_clamped(padding: int, expected: tuple[int, int]) -> None:
    sizes: list[tuple[int, int]] = []

    class Sizes(FakeMatcher):
        def match(self, images: Sequence[Image.Image], texts):  # type: ignore[no-untyped-def]
            sizes.extend(image.size for image in images)
            return super().match(images, texts)

    settings = RegionCaptionsSettings(crop_padding=padding)
    RegionCaptionsStage(settings, FakeRegionDescriber(), Sizes(), FakeTextEncoder()).process(
        [Task(box_record(WHERE), pictures())]
    )
    assert sizes == [expected] * 2


def test_neighbours_of_one_pair_share_a_request_per_picture() -> None:
    built, describer, matcher, encoder = stage()
    other = box(0, 0, 10, 10)
    records = [box_record(WHERE, 0, 0), box_record(other, 0, 1), box_record(WHERE, 1, 0), box_record(other, 0, 2)]
    built.process([Task(record, pictures()) for record in records])
    assert [request.boxes for request in describer.requests] == [
        [WHERE, other], [WHERE, other], [WHERE], [WHERE], [other], [other],
    ]  # fmt: skip
    for first, second in zip(describer.requests[::2], describer.requests[1::2], strict=True):
        assert first.seeds == second.seeds
        assert first.image != second.image
    assert [seed for request in describer.requests[::2] for seed in request.seeds] == [
        seed_of(record.id, "describe") for record in records
    ]
    assert (describer.calls, matcher.calls, encoder.calls) == ([6], [8], [8])


def test_each_box_gets_its_own_description_back() -> None:
    left, right = box(0, 0, 10, 10), box(40, 0, 50, 10)
    paints: list[dict[Box, Colour]] = [{left: colour(11), right: colour(12)}, {left: colour(21), right: colour(22)}]
    shown = dict(zip(("first", "second"), (picture(painted((0, 0, 0), paint)) for paint in paints), strict=True))
    settings = RegionCaptionsSettings(text_match=Bounds(), text_similarity=Bounds())
    built = RegionCaptionsStage(settings, FakeRegionDescriber(), FakeMatcher(), FakeTextEncoder())
    tasks: list[Task[DifferenceBox]] = [Task(box_record(where, 0, i), shown) for i, where in enumerate((left, right))]
    texts = [
        (result.records[0].first_description, result.records[0].second_description)
        for result in built.process(tasks)
        if isinstance(result, Emit)
    ]
    assert texts == [tuple(f"a thing in colour {colour(number)}" for number in pair) for pair in ((11, 21), (12, 22))]


def test_a_matcher_on_another_scale_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"region_captions.text_match_scale.*'itc_cosine'.*'itm_probability'"):
        stage(scale=MatchScale.ITM_PROBABILITY)
    assert isinstance(outcome(scale=MatchScale.ITM_PROBABILITY, text_match_scale="itm_probability"), Emit)
