"""The published filters on a world whose truth is known: they keep what is right and drop what is wrong, each its own."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from common.models.sketch.truth import Defect
from schemas.qa import DifferenceQa
from schemas.record import Record
from tests.common.models.sketch.regions import best_iou
from tests.workers.chain import StageRun, run_chain, truth_of

DEFECTS = {
    "caption_editor": (Defect.UNCHANGED, Defect.CHATTER, Defect.TWO_OBJECTS),
    "pair_generator": (
        Defect.FAINT_EDIT,
        Defect.SCENE_CHANGED,
        Defect.WRONG_OBJECT,
        Defect.DRAWN_TWICE,
        Defect.BLANK,
    ),
    "region_describer": (Defect.WRONG_DESCRIPTION, Defect.VAGUE_DESCRIPTION),
}

CAPTIONS = (Path(__file__).parent.parent.parent / "ops/demo/captions.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def runs() -> Mapping[str, StageRun]:
    return run_chain(CAPTIONS)


def samples(runs: Mapping[str, StageRun]) -> list[DifferenceQa]:
    return [record for record in runs["qa"].passed if isinstance(record, DifferenceQa)]


def test_most_captions_with_a_known_object_become_samples(runs: Mapping[str, StageRun]) -> None:
    assert len(runs["edits"].passed) > 0.5 * len(CAPTIONS)
    assert len(samples(runs)) > 0.8 * len(runs["edits"].passed)


def test_accepted_boxes_lie_on_the_replaced_object(runs: Mapping[str, StageRun]) -> None:
    accepted = samples(runs)
    right = [best_iou(record.box, truth_of(record, "pairs")["boxes"]) >= 0.5 for record in accepted]
    assert sum(right) >= 0.95 * len(accepted)


def test_answers_name_what_is_in_each_picture(runs: Mapping[str, StageRun]) -> None:
    accepted = samples(runs)
    right = [
        any(name and name in record.answer for name in truth_of(record, "pairs")["first"])
        and any(name and name in record.answer for name in truth_of(record, "pairs")["second"])
        for record in accepted
    ]
    assert sum(right) >= 0.95 * len(accepted)


def forced(model: str, defect: Defect, captions: int) -> Mapping[str, StageRun]:
    """The chain with every draw of one model carrying this defect, and no other defect anywhere."""
    return run_chain(
        CAPTIONS[:captions],
        [
            f"models.{each_model}.options.{each}_rate={int((each_model, each) == (model, defect))}"
            for each_model, defects in DEFECTS.items()
            for each in defects
        ],
    )


def reasons(run: StageRun) -> Counter[str]:
    return Counter(str(rejection.reject.reason) for rejection in run.rejected)


@pytest.mark.parametrize(
    ("defect", "stage", "reason"),
    [
        (Defect.UNCHANGED, "edits", "unchanged"),
        (Defect.CHATTER, "edits", "marker_word"),
    ],
)
def test_defects_of_the_editor_are_rejected_by_their_check(defect: Defect, stage: str, reason: str) -> None:
    run = forced("caption_editor", defect, 80)[stage]
    counted = reasons(run)
    defective = len(run.passed) + sum(counted.values()) - counted["nothing_to_replace"]
    assert defective > 20
    assert counted[reason] >= 0.9 * defective


@pytest.mark.parametrize(
    ("defect", "stage", "expected"),
    [
        (Defect.BLANK, "pairs", {"blank_image"}),
        (Defect.FAINT_EDIT, "boxes", {"pair_too_similar"}),
        (Defect.SCENE_CHANGED, "boxes", {"pair_too_different"}),
        (Defect.WRONG_OBJECT, "boxes", {"object_mismatch"}),
    ],
)
def test_defects_of_the_generator_are_rejected_by_their_filter(defect: Defect, stage: str, expected: set[str]) -> None:
    run = forced("pair_generator", defect, 60)[stage]
    defective = [rejection for rejection in run.rejected if _defect(rejection.record, stage) == defect]
    let_through = [
        record for record in run.passed if stage != "pairs" and truth_of(record, "pairs")["defect"] == defect
    ]
    caught = [rejection for rejection in defective if str(rejection.reject.reason) in expected]
    assert len(defective) > 15
    assert len(caught) >= 0.9 * (len(defective) + len({record.caption_id for record in let_through}))


def test_objects_drawn_twice_are_rejected_by_text_match() -> None:
    runs = forced("pair_generator", Defect.DRAWN_TWICE, 80)
    run = runs["region-captions"]
    extra = [
        rejection
        for rejection in run.rejected
        if best_iou(rejection.record.box, truth_of(rejection.record, "pairs")["extra_boxes"]) >= 0.5  # type: ignore[attr-defined]
    ]
    slipped = [
        record
        for record in run.passed
        if best_iou(record.box, truth_of(record, "pairs")["extra_boxes"]) >= 0.5  # type: ignore[attr-defined]
    ]
    assert len(extra) > 15
    assert sum(str(rejection.reject.reason) == "text_mismatch" for rejection in extra) >= 0.9 * (
        len(extra) + len(slipped)
    )


@pytest.mark.parametrize(
    ("defect", "reason"), [(Defect.WRONG_DESCRIPTION, "text_mismatch"), (Defect.VAGUE_DESCRIPTION, "texts_too_similar")]
)
def test_defects_of_the_describer_are_rejected_by_their_filter(defect: Defect, reason: str) -> None:
    run = forced("region_describer", defect, 60)["region-captions"]
    # Where the describer recognises nothing on a side, it has nothing to be wrong or vague about.
    defective = [rejection for rejection in run.rejected if "an empty patch" not in rejection.reject.detail]
    caught = [rejection for rejection in defective if str(rejection.reject.reason) == reason]
    assert len(caught) > 20
    assert len(caught) >= 0.9 * (len(defective) + len(run.passed))


def _defect(record: Record, stage: str) -> str | None:
    # The pairs stage rejects before its own truth is written down; there every draw carries the forced defect.
    return Defect.BLANK if stage == "pairs" else truth_of(record, "pairs")["defect"]
