"""Boxes: every filter at its bound, every variant, every reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from PIL import Image

from common.models.protocols import MatchScale
from common.runtime.errors import ConfigurationError
from common.runtime.stage import Emit, Reject, Task
from schemas.boxes import DifferenceBox
from schemas.dead_letters import MAX_CANDIDATES
from schemas.geometry import Box
from schemas.ids import record_id
from schemas.pairs import Pair
from schemas.scores import Bounds
from tests.workers.fakes import (
    HEIGHT,
    WIDTH,
    Colour,
    FakeImageEncoder,
    FakeMatcher,
    FakeSegmenter,
    around,
    box,
    colour,
    painted,
    pair_record,
    picture,
    step,
)
from workers.boxes.reasons import BoxesReason
from workers.boxes.settings import BoxesSettings, ObjectRule
from workers.boxes.stage import BoxesStage

DOG, CAT = "dog", "cat"
LEFT, MIDDLE, RIGHT = box(0, 10, 15, 30), box(20, 10, 35, 30), box(40, 10, 55, 30)


@dataclass
class World:
    """A pair of pictures as the models see it: a cosine of the pair, and for each thing its place, who finds it, how
    much its two crops resemble each other, and how well they match the captions' words."""

    edited: str = "A cat sits on a sofa."
    number: int = 0
    similarity: float = 0.95
    segments: dict[str, list[Box]] = field(default_factory=lambda: {"first": [], "second": []})
    paint: dict[str, dict[Box, Colour]] = field(default_factory=lambda: {"first": {}, "second": {}})
    cosines: dict[Colour, float] = field(default_factory=dict)
    scores: dict[tuple[Colour, str], float] = field(default_factory=dict)

    def thing(
        self,
        where: Box,
        *,
        cosine: float = 0.5,
        found_in: Sequence[str] = ("first",),
        first: Mapping[str, float] | None = None,
        second: Mapping[str, float] | None = None,
    ) -> "World":
        """`first` and `second` say how well the crop of that picture matches which words."""
        number = 10 + len(self.paint["first"]) * 2 + 1_000 * self.number
        shown = {"first": colour(number), "second": colour(number + 1)}
        for side in found_in:
            self.segments[side].append(where)
        for side, matches in (("first", {DOG: 0.9} if first is None else first), ("second", second or {})):
            self.paint[side][where] = shown[side]
            self.scores |= {(shown[side], word): score for word, score in matches.items()}
        self.cosines[shown["second"]] = cosine
        return self

    @property
    def backgrounds(self) -> tuple[Colour, Colour]:
        return colour(1 + 1_000 * self.number), colour(2 + 1_000 * self.number)

    def task(self) -> Task[Pair]:
        first, second = (
            picture(self._image(background, side))
            for background, side in zip(self.backgrounds, ("first", "second"), strict=True)
        )
        return Task(pair_record(self.edited, self.number), {"first": first, "second": second})

    def _image(self, background: Colour, side: str) -> Image.Image:
        image = painted(background, self.paint[side])
        image.putpixel((0, 0), background)
        return image


@dataclass
class Models:
    encoder: FakeImageEncoder
    segmenter: FakeSegmenter
    matcher: FakeMatcher


def models_of(*worlds: World, scale: MatchScale = MatchScale.ITC_COSINE) -> Models:
    cosines: dict[Colour, float] = {}
    segments: dict[Colour, Sequence[Box]] = {}
    scores: dict[tuple[Colour, str], float] = {}
    for world in worlds:
        first, second = world.backgrounds
        cosines |= world.cosines | {second: world.similarity}
        segments |= {first: world.segments["first"], second: world.segments["second"]}
        scores |= world.scores
    return Models(FakeImageEncoder(cosines), FakeSegmenter(segments), FakeMatcher(scores, scale))


def process(worlds: Sequence[World], models: Models, **settings: object) -> list[Emit[DifferenceBox] | Reject]:
    stage = BoxesStage(BoxesSettings.model_validate(settings), models.encoder, models.segmenter, models.matcher)
    return stage.process([world.task() for world in worlds])


def outcome(world: World, **settings: object) -> Emit[DifferenceBox] | Reject:
    (result,) = process([world], models_of(world), **settings)
    return result


def boxes_of(result: Emit[DifferenceBox] | Reject) -> list[Box]:
    assert isinstance(result, Emit), result
    return [record.box for record in result.records]


def reason_of(result: Emit[DifferenceBox] | Reject) -> str:
    assert isinstance(result, Reject), result
    return result.reason


def test_a_box_passes_with_words_scores_and_an_id_of_its_own() -> None:
    result = outcome(World().thing(LEFT, cosine=0.25, first={DOG: 0.75}))
    assert isinstance(result, Emit)
    (record,) = result.records
    assert record.id == record_id("boxes", pair_record().id, 0)
    assert (record.box, record.found_in) == (LEFT, "first")
    assert (record.first_objects, record.second_objects) == ((DOG,), (CAT,))
    assert {name: score.value for name, score in result.scores_of(0).items()} == {
        "pair_similarity": step(0.95, 0),
        "crop_similarity": 0.25,
        "object_match": 0.75,
        "area_share": LEFT.area_share,
    }


# The window of pair similarity


@pytest.mark.parametrize(
    "bounds", [Bounds(low=0.9, high=0.98), Bounds(low=0.9, high=0.99, low_inclusive=True, high_inclusive=True)]
)
def test_pair_similarity_at_its_bounds(bounds: Bounds) -> None:
    for value, passes in around(bounds):
        result = outcome(World(similarity=value).thing(LEFT), pair_similarity=bounds)
        assert isinstance(result, Emit) is passes, (value, bounds)


def test_the_default_window_is_the_papers() -> None:
    assert BoxesSettings().pair_similarity == Bounds(low=0.9, high=0.98)
    assert reason_of(outcome(World(similarity=0.9).thing(LEFT))) == BoxesReason.PAIR_TOO_DIFFERENT
    assert reason_of(outcome(World(similarity=0.98).thing(LEFT))) == BoxesReason.PAIR_TOO_SIMILAR


def test_rounding_as_the_authors_code_does_it_moves_pairs_across_the_bound() -> None:
    assert isinstance(outcome(World(similarity=0.9004).thing(LEFT)), Emit)
    result = outcome(World(similarity=0.9004).thing(LEFT), round_similarity_to=3)
    assert isinstance(result, Reject)
    assert result.scores["pair_similarity"].value == 0.9


# The filters of a box


def test_crop_similarity_at_its_bound() -> None:
    for value, passes in around(Bounds(high=0.85)):
        assert isinstance(outcome(World().thing(LEFT, cosine=value)), Emit) is passes, value
    for value, passes in around(Bounds(high=0.85, high_inclusive=True)):
        settings = {"crop_similarity": {"low": 0, "low_inclusive": True, "high": 0.85, "high_inclusive": True}}
        assert isinstance(outcome(World().thing(LEFT, cosine=value), **settings), Emit) is passes, value


def test_a_crop_similarity_below_an_open_window_is_too_different() -> None:
    settings = {"crop_similarity": {"low": 0, "low_inclusive": True, "high": 0.85, "high_inclusive": True}}
    assert reason_of(outcome(World().thing(LEFT, cosine=-0.5), **settings)) == BoxesReason.CROPS_TOO_DIFFERENT


def test_object_match_at_its_bound() -> None:
    for value, passes in around(Bounds(low=0.35)):
        assert isinstance(outcome(World().thing(LEFT, first={DOG: value})), Emit) is passes, value
    for value, passes in around(Bounds(low=0.4, low_inclusive=True)):
        settings = {"object_match": {"low": 0.4, "low_inclusive": True}}
        assert isinstance(outcome(World().thing(LEFT, first={DOG: value}), **settings), Emit) is passes, value


@pytest.mark.parametrize(
    ("first", "second", "either", "both"),
    [
        ({DOG: 0.9}, {CAT: 0.9}, True, True),
        ({DOG: 0.9}, {CAT: 0.1}, True, False),
        ({DOG: 0.1}, {CAT: 0.9}, True, False),
        ({DOG: 0.1}, {CAT: 0.1}, False, False),
        ({CAT: 0.9}, {DOG: 0.9}, False, False),
    ],
)
def test_the_object_rule(first: Mapping[str, float], second: Mapping[str, float], either: bool, both: bool) -> None:
    for rule, passes in ((ObjectRule.EITHER, either), (ObjectRule.BOTH, both)):
        result = outcome(World().thing(LEFT, first=first, second=second), object_rule=rule)
        assert isinstance(result, Emit) is passes
        if isinstance(result, Reject):
            assert result.reason is BoxesReason.OBJECT_MISMATCH


def test_the_best_of_several_words_counts() -> None:
    world = World(edited="A hot sandwich sits on a sofa.", similarity=0.95).thing(
        LEFT, first={}, second={"sandwich": 0.5}
    )
    assert isinstance(outcome(world), Emit)
    world = World(edited="A lion or tiger sits on a sofa.").thing(LEFT, first={}, second={"lion": 0.1, "tiger": 0.6})
    result = outcome(world)
    assert isinstance(result, Emit)
    assert result.scores_of(0)["object_match"].value == 0.6


def test_a_side_without_words_is_not_matched() -> None:
    world = World(edited="A dog and a cat sit on a sofa.").thing(LEFT, first={}, second={CAT: 0.8})
    models = models_of(world)
    (result,) = process([world], models)
    assert isinstance(result, Emit)
    assert models.matcher.asked == [(world.paint["second"][LEFT], (CAT,))]
    assert reason_of(outcome(world, object_rule=ObjectRule.BOTH)) == BoxesReason.NO_OBJECT_WORDS


@pytest.mark.parametrize(("found_in", "passes"), [("first", True), ("second", False)])
def test_the_authors_pairing_of_second_boxes_swaps_the_words(found_in: str, passes: bool) -> None:
    world = World().thing(LEFT, found_in=(found_in,), first={DOG: 0.9}, second={CAT: 0.9})
    assert isinstance(outcome(world), Emit)
    assert isinstance(outcome(world, swap_crops_of_second_boxes=True), Emit) is passes
    swapped = World().thing(LEFT, found_in=(found_in,), first={CAT: 0.9}, second={DOG: 0.9})
    assert isinstance(outcome(swapped), Reject)
    assert isinstance(outcome(swapped, swap_crops_of_second_boxes=True), Emit) is not passes


# Order, overlap, cap


def three_things() -> World:
    return World().thing(LEFT, cosine=0.7).thing(MIDDLE, cosine=0.1).thing(RIGHT, cosine=0.4, found_in=("second",))


def test_most_different_boxes_come_first() -> None:
    result = outcome(three_things())
    assert boxes_of(result) == [MIDDLE, RIGHT, LEFT]
    assert isinstance(result, Emit)
    assert [record.found_in for record in result.records] == ["first", "second", "first"]
    assert [record.id for record in result.records] == [record_id("boxes", pair_record().id, i) for i in range(3)]
    assert [result.scores_of(i)["crop_similarity"].value for i in range(3)] == [step(v, 0) for v in (0.1, 0.4, 0.7)]


def test_without_sorting_boxes_stay_in_the_segmenters_order() -> None:
    assert boxes_of(outcome(three_things(), sort_by_difference=False)) == [LEFT, MIDDLE, RIGHT]


def test_a_place_that_both_pictures_give_is_one_box() -> None:
    result = outcome(World().thing(LEFT, cosine=0.2, found_in=("first", "second")))
    assert boxes_of(result) == [LEFT]
    assert isinstance(result, Emit)
    assert [(c.label, c.reason) for c in result.dropped] == [("second:0", BoxesReason.OVERLAPS)]
    assert result.dropped[0].scores["overlap"].value == 1.0
    assert result.scores_of(0)["object_match"] == result.dropped[0].scores["object_match"]


def test_sorting_decides_who_survives_an_overlap() -> None:
    wide, narrow = box(0, 10, 15, 30), box(3, 10, 15, 30)
    world = World().thing(wide, cosine=0.8).thing(narrow, cosine=0.2)
    # The wider box starts further left: each crop shows its own colour in the corner that a fake looks at.
    assert boxes_of(outcome(world)) == [narrow]
    assert boxes_of(outcome(world, sort_by_difference=False)) == [wide]


@pytest.mark.parametrize(("cap", "kept"), [(1, 1), (2, 2), (3, 3), (None, 3)])
def test_the_cap_drops_the_least_different(cap: int | None, kept: int) -> None:
    result = outcome(three_things(), max_boxes=cap)
    assert boxes_of(result) == [MIDDLE, RIGHT, LEFT][:kept]
    assert isinstance(result, Emit)
    assert [c.reason for c in result.dropped] == [BoxesReason.BEYOND_CAP] * (3 - kept)


@pytest.mark.parametrize(("shift", "passes"), [(-1, False), (0, True), (1, True)])
def test_area_as_in_the_authors_code_keeps_a_box_of_one_in_four_hundred(shift: int, passes: bool) -> None:
    width = 3 * step(1 / 400, shift) * 400 if shift else 3.0
    where = Box(x0=20, y0=10, x1=20 + width, y1=12, width=WIDTH, height=HEIGHT)
    result = outcome(World().thing(where), area_share=Bounds(low=1 / 400, low_inclusive=True))
    assert isinstance(result, Emit) is passes
    if isinstance(result, Reject):
        assert result.reason is BoxesReason.BOX_TOO_SMALL
        assert result.scores["area_share"].value == where.area_share


def test_a_box_that_covers_too_much_is_a_reason_too() -> None:
    assert reason_of(outcome(World().thing(LEFT), area_share=Bounds(high=0.1))) == BoxesReason.BOX_TOO_LARGE


def sized_things() -> World:
    """Five boxes apart, most different first; the second and the third are small."""
    world = World()
    for i, size in enumerate((8, 2, 2, 8, 8)):
        world.thing(box(10 * i, 10, 10 * i + size, 10 + size), cosine=0.1 * i)
    return world


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"max_boxes": 2}, [0, 1]),
        ({"area_share": {"low": 0.01}}, [0, 3, 4]),
        ({"area_share": {"low": 0.01}, "max_boxes": 2}, [0, 3]),  # small ones do not count to the cap
        ({"area_share": {"low": 0.01}, "max_boxes_before_area": 4, "max_boxes": 5}, [0, 3]),
        ({"area_share": {"low": 0.01}, "max_boxes_before_area": 4, "max_boxes": 1}, [0]),
    ],
)
def test_the_caps_before_and_after_the_area_rule(settings: dict[str, object], kept: list[int]) -> None:
    assert [record.x0 / 10 for record in boxes_of(outcome(sized_things(), **settings))] == kept


def test_a_pair_whose_first_boxes_are_all_too_small_is_rejected_for_that() -> None:
    world = World().thing(box(0, 10, 2, 12), cosine=0.1).thing(RIGHT, cosine=0.2)
    result = outcome(world, area_share=Bounds(low=0.01), max_boxes_before_area=1)
    assert isinstance(result, Reject)
    assert result.reason is BoxesReason.BOX_TOO_SMALL
    assert [c.reason for c in result.dropped] == [BoxesReason.BOX_TOO_SMALL, BoxesReason.BEYOND_CAP]


def test_overlap_is_decided_before_area() -> None:
    wide, narrow = box(0, 10, 15, 30), box(3, 10, 15, 30)
    world = World().thing(wide, cosine=0.2).thing(narrow, cosine=0.8)
    assert reason_of(outcome(world, area_share=Bounds(high=0.11))) == BoxesReason.BOX_TOO_LARGE


def test_five_boxes_are_the_default() -> None:
    world = World()
    for i in range(7):
        world.thing(box(8 * i, 20, 8 * i + 6, 30), cosine=0.1 * i)
    assert len(boxes_of(outcome(world))) == 5


# Reasons and what is kept of dropped candidates


def test_reasons_of_a_pair() -> None:
    assert reason_of(outcome(World(edited="A small dog sits on a sofa.").thing(LEFT))) == BoxesReason.NO_OBJECT_WORDS
    assert reason_of(outcome(World(similarity=0.5).thing(LEFT))) == BoxesReason.PAIR_TOO_DIFFERENT
    assert reason_of(outcome(World(similarity=0.999).thing(LEFT))) == BoxesReason.PAIR_TOO_SIMILAR
    assert reason_of(outcome(World())) == BoxesReason.NO_SEGMENTS
    assert reason_of(outcome(World().thing(LEFT, cosine=0.9))) == BoxesReason.CROPS_TOO_SIMILAR
    assert reason_of(outcome(World().thing(LEFT, first={}))) == BoxesReason.OBJECT_MISMATCH


def test_a_rejected_pair_has_the_reason_and_scores_of_the_box_that_got_furthest() -> None:
    world = (
        World()
        .thing(LEFT, cosine=0.95)
        .thing(MIDDLE, cosine=0.3, first={DOG: 0.2})
        .thing(RIGHT, cosine=0.6, first={DOG: 0.3}, found_in=("second",))
    )
    result = outcome(world)
    assert isinstance(result, Reject)
    assert result.reason is BoxesReason.OBJECT_MISMATCH
    assert {name: score.value for name, score in result.scores.items()} == {
        "pair_similarity": step(0.95, 0),
        "crop_similarity": step(0.6, 0),
        "object_match": 0.3,
    }
    assert [(c.label, c.reason) for c in result.dropped] == [
        ("second:0", BoxesReason.OBJECT_MISMATCH),
        ("first:1", BoxesReason.OBJECT_MISMATCH),
        ("first:0", BoxesReason.CROPS_TOO_SIMILAR),
    ]
    assert [set(c.scores) for c in result.dropped] == [
        {"crop_similarity", "object_match"},
        {"crop_similarity", "object_match"},
        {"crop_similarity"},
    ]


def test_no_more_candidates_are_kept_than_a_dead_letter_holds() -> None:
    world = World()
    world.segments["first"] = [box(x, y, x + 1, y + 1) for x in range(1, 20) for y in range(1, 8)]
    result = outcome(world)
    assert isinstance(result, Reject)
    assert len(result.dropped) == MAX_CANDIDATES


# How the models are asked


def test_each_model_is_asked_once_for_the_whole_batch_and_only_about_what_is_undecided() -> None:
    worlds = [
        World(number=0).thing(LEFT).thing(MIDDLE, cosine=0.9),
        World(number=1, similarity=0.5).thing(LEFT),
        World(number=2).thing(RIGHT, found_in=("second",)),
        World(number=3, edited="A big dog sits on a sofa.").thing(LEFT),
    ]
    models = models_of(*worlds)
    results = process(worlds, models)
    assert [isinstance(result, Emit) for result in results] == [True, False, True, False]
    assert models.encoder.calls == [2 * 3, 2 * 3]
    assert models.segmenter.calls == [2 * 2]
    assert models.matcher.calls == [2 * 2]


def test_crops_come_in_calls_of_bounded_size_without_changing_the_outcome() -> None:
    world = three_things()
    models = models_of(world)
    chunked = process([world], models, crops_per_call=3)
    assert chunked == process([world], models_of(world))
    assert models.encoder.calls == [2, 2, 2, 2]
    assert models.matcher.calls == [2, 2, 2]


def test_a_place_found_in_both_pictures_is_measured_once() -> None:
    world = World().thing(LEFT, found_in=("first", "second"))
    models = models_of(world)
    process([world], models)
    assert models.encoder.calls == [2, 2]
    assert models.matcher.calls == [2]


def test_a_second_picture_of_another_size_is_brought_to_the_first() -> None:
    world = World()
    task = world.task()
    larger = picture(task.pictures["second"].image.resize((2 * WIDTH, 2 * HEIGHT)))
    models = models_of(world)
    stage = BoxesStage(BoxesSettings(), models.encoder, models.segmenter, models.matcher)
    stage.process([Task(task.record, {"first": task.pictures["first"], "second": larger})])
    assert models.segmenter.sizes == [(WIDTH, HEIGHT)] * 2


def test_a_matcher_on_another_scale_is_a_configuration_error() -> None:
    world = World().thing(LEFT)
    with pytest.raises(ConfigurationError, match=r"boxes.object_match_scale.*'itc_cosine'.*'itm_probability'"):
        process([world], models_of(world, scale=MatchScale.ITM_PROBABILITY))
    scores = process([world], models_of(world, scale=MatchScale.ITM_PROBABILITY), object_match_scale="itm_probability")
    assert isinstance(scores[0], Emit)


def test_a_segment_of_another_picture_is_an_error_and_not_a_reject() -> None:
    world = World()
    world.segments["first"] = [Box(x0=0, y0=0, x1=5, y1=5, width=10, height=10)]
    with pytest.raises(ValueError, match="a box of a 10x10 picture on one of 60x40"):
        outcome(world)
