"""The published chain on sketch models, against the truth of the sketch world."""

from collections.abc import Sequence

import pytest

from common.models.sketch.describers import SketchRegionDescriber
from common.models.sketch.truth import Defect
from tests.common.models.sketch.cases import Case, cases, draw
from tests.common.models.sketch.chain import Chain, Dropped, Filter, Outcome, truth_iou

CLEAN = 120
DEFECTIVE = 30

Run = tuple[Case, dict[str, object], Outcome]


def _describer(defect: Defect | None = None) -> SketchRegionDescriber:
    return SketchRegionDescriber(
        wrong_description_rate=float(defect is Defect.WRONG_DESCRIPTION),
        vague_description_rate=float(defect is Defect.VAGUE_DESCRIPTION),
    )


def _runs(count: int, pair: Defect | None = None, description: Defect | None = None) -> list[Run]:
    chain = Chain(_describer(description))
    found = []
    for case in cases(count):
        drawn = draw(case, pair)
        found.append((case, dict(drawn.truth), chain.run(case.caption, case.edited, drawn, case.seed)))
    return found


def _boxes(truth: dict[str, object], name: str = "boxes") -> Sequence[Sequence[int]]:
    boxes = truth[name]
    assert isinstance(boxes, list)
    return boxes


def _share(flags: Sequence[bool]) -> float:
    assert flags
    return sum(flags) / len(flags)


@pytest.fixture(scope="module")
def clean() -> list[Run]:
    return _runs(CLEAN)


def test_most_flawless_samples_get_through(clean: list[Run]) -> None:
    assert _share([bool(outcome.accepted) for *_, outcome in clean]) >= 0.9


def test_accepted_boxes_lie_on_the_replaced_object(clean: list[Run]) -> None:
    hits = [truth_iou(a.box, _boxes(truth)) >= 0.5 for _, truth, outcome in clean for a in outcome.accepted]
    assert _share(hits) >= 0.97


def test_answers_name_what_is_in_each_picture(clean: list[Run]) -> None:
    named = [
        case.first in accepted.difference and case.second in accepted.difference
        for case, _, outcome in clean
        for accepted in outcome.accepted
    ]
    assert _share(named) >= 0.97


def test_every_filter_within_a_flawless_pair_has_work(clean: list[Run]) -> None:
    dropped = {drop.by for *_, outcome in clean for drop in outcome.dropped}
    assert {Filter.OBJECT_MATCH, Filter.OVERLAP} <= dropped


@pytest.mark.parametrize(
    ("defect", "meant"),
    [
        (Defect.FAINT_EDIT, Filter.PAIR_TOO_SIMILAR),
        (Defect.SCENE_CHANGED, Filter.PAIR_TOO_DIFFERENT),
        (Defect.BLANK, Filter.BLANK),
    ],
)
def test_defects_of_whole_pairs_fall_to_their_filter(defect: Defect, meant: Filter) -> None:
    runs = [run for run in _runs(DEFECTIVE, pair=defect) if run[1]["defect"] == defect]
    assert _share([outcome.pair is meant for *_, outcome in runs]) >= 0.9


def test_wrong_objects_fall_to_object_match() -> None:
    runs = _runs(DEFECTIVE, pair=Defect.WRONG_OBJECT)
    fallen = [
        not outcome.accepted and _dropped_at(outcome, _boxes(truth), Filter.OBJECT_MATCH) for _, truth, outcome in runs
    ]
    assert _share(fallen) >= 0.9


def test_objects_drawn_twice_fall_to_text_match() -> None:
    runs = [run for run in _runs(DEFECTIVE, pair=Defect.DRAWN_TWICE) if run[1]["defect"] == Defect.DRAWN_TWICE]
    fallen = [_dropped_at(outcome, _boxes(truth, "extra_boxes"), Filter.TEXT_MATCH) for _, truth, outcome in runs]
    assert _share(fallen) >= 0.9
    accepted = [a for _, _, outcome in runs for a in outcome.accepted]
    assert _share([bool(outcome.accepted) for *_, outcome in runs]) >= 0.75, "the other box of such a pair is good"
    assert not any(
        truth_iou(a.box, _boxes(truth, "extra_boxes")) >= 0.3 for _, truth, outcome in runs for a in outcome.accepted
    ), accepted


@pytest.mark.parametrize(
    ("defect", "meant"),
    [
        (Defect.WRONG_DESCRIPTION, Filter.TEXT_MATCH),
        (Defect.VAGUE_DESCRIPTION, Filter.TEXT_SIMILARITY),
    ],
)
def test_descriptions_gone_wrong_fall_to_their_filter(defect: Defect, meant: Filter) -> None:
    described = [
        (outcome, truth)
        for *_, outcome in _runs(DEFECTIVE, description=defect)
        for truth in outcome.description_truths
        if {truth["first"]["defect"], truth["second"]["defect"]} == {defect}
    ]
    assert len(described) >= DEFECTIVE
    assert _share([_dropped_by(outcome, truth["box"]) is meant for outcome, truth in described]) >= 0.9


def _dropped_at(outcome: Outcome, boxes: Sequence[Sequence[int]], by: Filter) -> bool:
    return any(drop.by is by and truth_iou(drop.box, boxes) >= 0.3 for drop in outcome.dropped)


def _dropped_by(outcome: Outcome, box: object) -> Filter | None:
    drops: list[Dropped] = [drop for drop in outcome.dropped if drop.box is box]
    return drops[-1].by if drops else None
