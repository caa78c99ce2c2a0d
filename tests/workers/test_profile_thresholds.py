"""Every threshold of the published profiles: at its bound, and one float32 step to each side of it.

The table is written off the publications, not off the profiles, and the stages are the real ones: a wrong number, a wrong
side, or a stage that compares otherwise shows here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from PIL import Image

from common.models.protocols import MatchScale
from common.runtime.stage import Emit, Task
from common.settings import Section, load_layers
from ops.effective import section_kinds
from schemas.geometry import Box
from schemas.scores import Bounds, float32
from tests.workers.fakes import (
    HEIGHT,
    WIDTH,
    Fake,
    FakeDifferenceDescriber,
    FakeEditor,
    FakeGenerator,
    FakeMatcher,
    FakeRegionDescriber,
    FakeTextEncoder,
    box,
    box_record,
    caption_record,
    edit_record,
    painted,
    picture,
    region_record,
    step,
)
from tests.workers.test_boxes import CAT, DOG, World, models_of
from tests.workers.test_region_captions import WHERE, pictures
from tests.workers.test_region_captions import stage as region_stage
from workers.boxes.settings import BoxesSettings
from workers.boxes.stage import BoxesStage
from workers.edits.settings import EditsSettings
from workers.edits.stage import EditsStage
from workers.pairs.settings import PairsSettings
from workers.pairs.stage import PairsStage
from workers.qa.settings import QaSettings
from workers.qa.stage import QaStage
from workers.region_captions.settings import RegionCaptionsSettings
from workers.region_captions.stage import RegionCaptionsStage

PROFILES = ("paper", "code", "recipe")

LOW_STRICT = (False, False, True)
LOW_INCLUSIVE = (False, True, True)
HIGH_STRICT = (True, False, False)
HIGH_INCLUSIVE = (True, True, False)
ALL = (True, True, True)
NONE = (False, False, False)


@dataclass(frozen=True)
class Row:
    """A bound, and whether a score passes one step below it, at it, and one step above it."""

    profile: str
    setting: str
    bound: float
    passes: tuple[bool, bool, bool]
    source: str
    in_stage: tuple[bool, bool, bool] | None = None
    """What the stage does, where that is another thing than comparing: rounding, or not holding to the bounds."""


TABLE = [
    Row("paper", "boxes.pair_similarity", 0.9, LOW_STRICT, "1.4: keep 0.9 to 0.98; sides of the authors' code"),
    Row("paper", "boxes.pair_similarity", 0.98, HIGH_STRICT, "1.4: keep 0.9 to 0.98; sides of the authors' code"),
    Row("code", "boxes.pair_similarity", 0.9, LOW_STRICT, "1.4: 0.9 < cos, rounded to 3 decimals", NONE),
    Row("code", "boxes.pair_similarity", 0.98, HIGH_STRICT, "1.4: cos < 0.98, rounded to 3 decimals", NONE),
    Row("recipe", "boxes.pair_similarity", 0.9, LOW_INCLUSIVE, "1.4: 0.9 to 0.99 inclusive"),
    Row("recipe", "boxes.pair_similarity", 0.99, HIGH_INCLUSIVE, "1.4: 0.9 to 0.99 inclusive"),
    Row("paper", "boxes.object_match", 0.35, LOW_STRICT, "1.5 step 4: > 0.35"),
    Row("code", "boxes.object_match", 0.35, LOW_STRICT, "1.5 step 4: > 0.35 strict"),
    Row("recipe", "boxes.object_match", 0.4, LOW_INCLUSIVE, "1.5 step 4: >= 0.4"),
    Row("recipe", "boxes.object_match", 1.0, HIGH_INCLUSIVE, "1.5 step 4: max 1.0"),
    Row("paper", "boxes.crop_similarity", 0.85, HIGH_STRICT, "1.5 step 5: < 0.85"),
    Row("code", "boxes.crop_similarity", 0.85, HIGH_STRICT, "1.5 step 5: < 0.85 strict"),
    Row("recipe", "boxes.crop_similarity", 0.0, LOW_INCLUSIVE, "1.5 step 5: 0 to 0.85 inclusive"),
    Row("recipe", "boxes.crop_similarity", 0.85, HIGH_INCLUSIVE, "1.5 step 5: 0 to 0.85 inclusive"),
    Row("paper", "boxes.overlap", 0.5, HIGH_INCLUSIVE, "1.5 step 6: IoU 0.5; side of the authors' code"),
    Row("code", "boxes.overlap", 0.5, HIGH_INCLUSIVE, "1.5 step 6: IoU > 0.5 is suppressed"),
    Row("recipe", "boxes.overlap", 0.5, HIGH_INCLUSIVE, "1.5 step 6: the same loop"),
    Row("code", "boxes.area_share", 1 / 400, LOW_INCLUSIVE, "1.6: skipped if area < 1/400"),
    Row("recipe", "boxes.area_share", 1 / 10, HIGH_INCLUSIVE, "1.6: skipped if area > 1/10"),
    Row("paper", "region_captions.text_match", 0.4, LOW_STRICT, "1.6: > 0.4"),
    Row("code", "region_captions.text_match", 0.35, LOW_STRICT, "1.6: > 0.35, both sides"),
    Row("recipe", "region_captions.text_match", 0.4, LOW_INCLUSIVE, "1.6: >= 0.4, a no-op", ALL),
    Row("recipe", "region_captions.text_match", 1.0, HIGH_INCLUSIVE, "1.5 step 4: max 1.0, a no-op", ALL),
    Row("paper", "region_captions.text_similarity", 0.85, HIGH_STRICT, "1.6: < 0.85"),
    Row("code", "region_captions.text_similarity", 0.85, HIGH_STRICT, "1.6: < 0.85"),
    Row("recipe", "region_captions.text_similarity", 0.0, LOW_INCLUSIVE, "1.6: 0 to 0.8 inclusive"),
    Row("recipe", "region_captions.text_similarity", 0.8, HIGH_INCLUSIVE, "1.6: 0 to 0.8 inclusive"),
    Row("paper", "edits.objects_changed", 1, LOW_INCLUSIVE, "1.2: only one of its objects"),
    Row("paper", "edits.objects_changed", 1, HIGH_INCLUSIVE, "1.2: only one of its objects"),
    Row("paper", "edits.added_marks", 0, HIGH_INCLUSIVE, "ours"),
    Row("paper", "edits.added_words", -8, LOW_INCLUSIVE, "ours"),
    Row("paper", "edits.added_words", 8, HIGH_INCLUSIVE, "ours"),
    *(Row(profile, "pairs.grey_levels", 0, LOW_STRICT, "ours") for profile in PROFILES),
    *(Row(profile, "qa.naturalness", 0.5, LOW_STRICT, "ours") for profile in PROFILES),
]

CAPS = {"paper": (5, None), "code": (5, 10), "recipe": (None, None)}
"""Boxes per pair in the end, and before the area rule (papers.md 1.5 step 7, and 1.6)."""

SCALES = {"paper": MatchScale.ITC_COSINE, "code": MatchScale.ITC_COSINE, "recipe": MatchScale.ITM_PROBABILITY}
"""On which scale `object_match` and `text_match` are meant (papers.md 1.5 step 4, and 1.6)."""


def named(row: Row) -> str:
    return f"{row.profile} {row.setting} {row.bound:g} {'low' if row.passes[2] else 'high'}"


@cache
def section(profile: str, name: str) -> Section:
    return load_layers({}, profile=profile).section(name, section_kinds()[name])


def bounds_of(profile: str, setting: str) -> Bounds:
    name, _, key = setting.partition(".")
    bounds = getattr(section(profile, name), key)
    assert isinstance(bounds, Bounds)
    return bounds


def values(bound: float) -> list[float]:
    return [step(bound, count) for count in (-1, 0, 1)]


# The bounds as a profile gives them


@pytest.mark.parametrize("row", TABLE, ids=named)
def test_a_bound_and_its_side(row: Row) -> None:
    bounds = bounds_of(row.profile, row.setting)
    one_side = "too_low" if row.passes[2] else "too_high"
    failed = [getattr(bounds.measure(value), one_side) for value in values(row.bound)]
    assert [not each for each in failed] == list(row.passes), row.source


def test_every_bound_of_every_profile_is_in_the_table() -> None:
    found: dict[tuple[str, str], tuple[float | None, float | None]] = {}
    for profile in PROFILES:
        for name, kind in section_kinds().items():
            for key, field in kind.model_fields.items():
                if field.annotation is Bounds:
                    bounds = bounds_of(profile, f"{name}.{key}")
                    found[profile, f"{name}.{key}"] = bounds.low, bounds.high
    expected: dict[tuple[str, str], tuple[float | None, float | None]] = dict.fromkeys(found, (None, None))
    for row in TABLE:
        low, high = expected[row.profile, row.setting]
        at = row.profile, row.setting
        expected[at] = (row.bound, high) if row.passes[2] else (low, row.bound)
    assert found == expected
    assert {setting for _, setting in found} == {row.setting for row in TABLE}


# The stages


def boxes_pass(profile: str, *worlds: World, **changed: object) -> list[int]:
    """How many boxes of each world the profile's stage passes."""
    settings = section(profile, "boxes").model_copy(update=changed)
    assert isinstance(settings, BoxesSettings)
    models = models_of(*worlds, scale=SCALES[profile])
    stage = BoxesStage(settings, models.encoder, models.segmenter, models.matcher)
    outcomes = stage.process([world.task() for world in worlds])
    return [len(outcome.records) if isinstance(outcome, Emit) else 0 for outcome in outcomes]


SMALL = box(0, 10, 10, 20)
BOTH: dict[str, Any] = {"first": {DOG: 0.9}, "second": {CAT: 0.9}}


def pair_similarity(profile: str, value: float) -> bool:
    return boxes_pass(profile, World(similarity=value).thing(SMALL, **BOTH)) == [1]


def object_match(profile: str, value: float) -> bool:
    return boxes_pass(profile, World().thing(SMALL, first={DOG: value}, second={CAT: value})) == [1]


def crop_similarity(profile: str, value: float) -> bool:
    return boxes_pass(profile, World().thing(SMALL, cosine=value, **BOTH)) == [1]


def overlap(profile: str, value: float) -> bool:
    """The second box lies in the first one; where the right and bottom edge count, both are a pixel narrower."""
    settings = section(profile, "boxes")
    assert isinstance(settings, BoxesSettings)
    edge = 1 if settings.overlap_adds_pixel else 0
    outer = Box(x0=0, y0=10, x1=20 - edge, y1=20, width=WIDTH, height=HEIGHT)
    inner = outer.model_copy(update={"x0": outer.x1 - (20 * value - edge)})
    world = World().thing(outer, cosine=0.2, **BOTH).thing(inner, cosine=0.5, **BOTH)
    (kept,) = boxes_pass(profile, world)
    assert kept in {1, 2}
    return kept == 2


def area_share(profile: str, value: float) -> bool:
    height = 8 if value > 0.05 else 2
    where = Box(x0=0, y0=10, x1=value * WIDTH * HEIGHT / height, y1=10 + height, width=WIDTH, height=HEIGHT)
    assert float32(where.area_share) == value
    return boxes_pass(profile, World().thing(where, **BOTH)) == [1]


def region_models(
    profile: str, **scores: float
) -> tuple[RegionCaptionsStage, FakeRegionDescriber, FakeMatcher, FakeTextEncoder]:
    scale = SCALES[profile]
    return region_stage(scale=scale, text_match_scale=scale, **scores)  # type: ignore[arg-type]


def region_passes(profile: str, **scores: float) -> bool:
    settings = section(profile, "region_captions")
    assert isinstance(settings, RegionCaptionsSettings)
    _, describer, matcher, encoder = region_models(profile, **scores)
    built = RegionCaptionsStage(settings, describer, matcher, encoder)
    (outcome,) = built.process([Task(box_record(WHERE), pictures())])
    return isinstance(outcome, Emit)


def text_match(profile: str, value: float) -> bool:
    sides = [{"first": value}, {"second": value}, {"first": value, "second": value}]
    passed = {region_passes(profile, **{"first": 0.9, "second": 0.9, **side}) for side in sides}
    (same,) = passed
    return same


def text_similarity(profile: str, value: float) -> bool:
    return region_passes(profile, similarity=value)


class FakeJudge(Fake):
    role = "NaturalnessJudge"

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def judge(self, composites: Sequence[Image.Image]) -> list[float]:
        return [self._share] * len(composites)


def naturalness(profile: str, value: float) -> bool:
    settings = section(profile, "qa")
    assert isinstance(settings, QaSettings)
    shown = {side: picture(painted((10, 20, 30))) for side in ("first", "second")}
    (outcome,) = QaStage(settings, FakeDifferenceDescriber(), FakeJudge(value)).process(
        [Task(region_record(SMALL), shown)]
    )
    return isinstance(outcome, Emit)


DRIVERS: dict[str, Callable[[str, float], bool]] = {
    "boxes.pair_similarity": pair_similarity,
    "boxes.object_match": object_match,
    "boxes.crop_similarity": crop_similarity,
    "boxes.overlap": overlap,
    "boxes.area_share": area_share,
    "region_captions.text_match": text_match,
    "region_captions.text_similarity": text_similarity,
    "qa.naturalness": naturalness,
}


@pytest.mark.parametrize("row", [row for row in TABLE if row.setting in DRIVERS], ids=named)
def test_the_stage_at_the_bound(row: Row) -> None:
    passed = [DRIVERS[row.setting](row.profile, value) for value in values(row.bound)]
    assert passed == list(row.in_stage or row.passes), row.source


def test_whole_numbers_are_compared_by_stages_of_their_own() -> None:
    assert {row.setting for row in TABLE} - DRIVERS.keys() == {
        "edits.objects_changed",
        "edits.added_marks",
        "edits.added_words",
        "pairs.grey_levels",
    }


@pytest.mark.parametrize(
    ("value", "passes"),
    [(0.9004, False), (0.9006, True), (0.9794, True), (0.9796, False)],
)
def test_the_authors_rounding_decides_at_the_fourth_decimal(value: float, passes: bool) -> None:
    """papers.md 1.4: rounded to 3 decimals, then strictly between 0.9 and 0.98."""
    assert pair_similarity("code", value) is passes
    assert pair_similarity("paper", value)


@pytest.mark.parametrize(
    ("edited", "passes"),
    [
        ("A dog sits on a warm sofa.", {"paper": False, "code": True, "recipe": True}),  # no object
        ("A cat sits on a sofa.", {"paper": True, "code": True, "recipe": True}),  # one
        ("A cat sits on a bed.", {"paper": False, "code": True, "recipe": True}),  # two
        ("A cat sits on a sofa" + " very" * 8, {"paper": True, "code": True, "recipe": True}),  # eight words more
        ("A cat sits on a sofa" + " very" * 9, {"paper": False, "code": True, "recipe": True}),  # nine
        ('Sure! Here you go: "A cat sits on a sofa."', {"paper": False, "code": True, "recipe": True}),  # four marks
        ("A dog sits on a sofa -> A cat", {"paper": False, "code": True, "recipe": True}),  # one
        ("A cat has become one with a sofa.", {"paper": False, "code": False, "recipe": True}),  # a marker word
    ],
)
def test_replies(edited: str, passes: dict[str, bool]) -> None:
    """papers.md 1.2: the authors' code looks for marker words, the recipe for nothing."""
    for profile in PROFILES:
        settings = section(profile, "edits")
        assert isinstance(settings, EditsSettings)
        (outcome,) = EditsStage(settings, FakeEditor(lambda _: edited)).process([Task(caption_record(), {})])
        assert isinstance(outcome, Emit) is passes[profile], profile


@pytest.mark.parametrize(("words", "passes"), [(8, True), (9, False)])
def test_how_many_words_fewer(words: int, passes: bool) -> None:
    settings = section("paper", "edits")
    assert isinstance(settings, EditsSettings)
    caption = caption_record("A dog sits on a sofa" + " very" * words)
    (outcome,) = EditsStage(settings, FakeEditor(lambda _: "A cat sits on a sofa")).process([Task(caption, {})])
    assert isinstance(outcome, Emit) is passes


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("levels", "passes"), [(0, False), (1, True)])
def test_a_picture_of_one_colour_is_blank(profile: str, levels: int, passes: bool) -> None:
    settings = section(profile, "pairs")
    assert isinstance(settings, PairsSettings)
    drawn = painted((0, 0, 0), {SMALL: (levels, 0, 0)})
    (outcome,) = PairsStage(settings, FakeGenerator(lambda _: (drawn, drawn))).process([Task(edit_record(), {})])
    assert isinstance(outcome, Emit) is passes


# Caps and scales


@pytest.mark.parametrize("profile", PROFILES)
def test_caps_and_scales(profile: str) -> None:
    boxes, regions = section(profile, "boxes"), section(profile, "region_captions")
    assert isinstance(boxes, BoxesSettings)
    assert isinstance(regions, RegionCaptionsSettings)
    assert (boxes.max_boxes, boxes.max_boxes_before_area) == CAPS[profile]
    assert boxes.object_match_scale is regions.text_match_scale is SCALES[profile]


@pytest.mark.parametrize(("profile", "large", "tiny_first", "kept"), [
    ("paper", 6, 0, 5), ("paper", 5, 0, 5), ("paper", 4, 2, 5),
    ("code", 6, 0, 5), ("code", 5, 5, 5), ("code", 5, 6, 4),
    ("recipe", 12, 0, 12),
])  # fmt: skip
def test_how_many_boxes_a_pair_gives(profile: str, large: int, tiny_first: int, kept: int) -> None:
    """`code`: the first 5 of at least 1/400 of the picture among the first 10. Tiny boxes are the most different here."""
    world = World()
    for number in range(tiny_first):
        world.thing(box(4 * number, 2, 4 * number + 2, 4), cosine=0.01 * number, **BOTH)
    for number in range(large):
        world.thing(box(5 * number, 10, 5 * number + 4, 16), cosine=0.3 + 0.01 * number, **BOTH)
    assert boxes_pass(profile, world) == [kept]


# Variants


@pytest.mark.parametrize(("profile", "kept"), [("paper", 1), ("code", 1), ("recipe", 0)])
def test_one_crop_or_both_have_to_show_an_object(profile: str, kept: int) -> None:
    """papers.md 1.5 step 4: OR in the authors' code, AND in the recipe."""
    world = World().thing(SMALL, first={DOG: 0.9}, second={CAT: 0.1})
    assert boxes_pass(profile, world) == [kept]


@pytest.mark.parametrize(("profile", "kept"), [("paper", [1, 0]), ("code", [0, 1]), ("recipe", [1, 0])])
def test_whose_words_a_box_of_the_second_picture_is_held_against(profile: str, kept: list[int]) -> None:
    """papers.md 1.5 step 4: the authors' code holds its crops against each other's words."""
    straight = World(number=0).thing(SMALL, found_in=("second",), **BOTH)
    crossed = World(number=1).thing(SMALL, found_in=("second",), first={CAT: 0.9}, second={DOG: 0.9})
    assert boxes_pass(profile, straight, crossed) == kept


@pytest.mark.parametrize(("profile", "survivor"), [("paper", 0.1), ("code", 0.1), ("recipe", 0.8)])
def test_who_survives_an_overlap(profile: str, survivor: float) -> None:
    """papers.md 1.5 step 6: most different first; the recipe takes them as they come."""
    settings = section(profile, "boxes")
    assert isinstance(settings, BoxesSettings)
    wide, narrow = box(0, 10, 12, 20), box(2, 10, 12, 20)
    world = World().thing(wide, cosine=0.8, **BOTH).thing(narrow, cosine=0.1, **BOTH)
    models = models_of(world, scale=SCALES[profile])
    (outcome,) = BoxesStage(settings, models.encoder, models.segmenter, models.matcher).process([world.task()])
    assert isinstance(outcome, Emit)
    assert [outcome.scores_of(0)["crop_similarity"].value, len(outcome.records)] == [step(survivor, 0), 1]


@pytest.mark.parametrize(("profile", "kept"), [("paper", 2), ("code", 1), ("recipe", 1)])
def test_whether_the_edge_counts_as_inside(profile: str, kept: int) -> None:
    """papers.md 1.5 step 6: the +1 pixel convention. The share of the inner box: 5 of 10 pixels, or 6 of 11."""
    world = World().thing(box(0, 10, 10, 20), cosine=0.1, **BOTH).thing(box(5, 10, 10, 20), cosine=0.2, **BOTH)
    assert boxes_pass(profile, world) == [kept]


@pytest.mark.parametrize(
    ("profile", "reason"),
    [("paper", "text_mismatch"), ("code", "texts_too_similar"), ("recipe", "texts_too_similar")],
)
def test_the_reason_of_a_region_that_fails_both_ways(profile: str, reason: str) -> None:
    """papers.md 1.6: the authors' code looks at the similarity first, in the recipe the match rejects nothing."""
    settings = section(profile, "region_captions")
    assert isinstance(settings, RegionCaptionsSettings)
    _, describer, matcher, encoder = region_models(profile, first=0.1, similarity=0.9)
    (outcome,) = RegionCaptionsStage(settings, describer, matcher, encoder).process(
        [Task(box_record(WHERE), pictures())]
    )
    assert not isinstance(outcome, Emit)
    assert outcome.reason == reason


@pytest.mark.parametrize(("profile", "padding"), [("paper", 5), ("code", 5), ("recipe", 0)])
def test_padding_of_the_crops_that_descriptions_are_held_against(profile: str, padding: int) -> None:
    settings = section(profile, "region_captions")
    assert isinstance(settings, RegionCaptionsSettings)
    assert settings.crop_padding == padding
