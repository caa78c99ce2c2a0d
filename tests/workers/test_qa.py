"""Questions and answers, the marks on the pictures, and the check of the pair before them."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from common.runtime.errors import ConfigurationError
from common.runtime.stage import Emit, Reject, Task
from common.settings import load_layers
from schemas.geometry import Box
from schemas.ids import record_id, seed_of
from schemas.record import MAX_TEXT_LENGTH
from schemas.region_captions import RegionCaption
from schemas.scores import Bounds
from tests.workers.fakes import (
    HEIGHT,
    WIDTH,
    Fake,
    FakeDifferenceDescriber,
    around,
    box,
    painted,
    picture,
    region_record,
)
from workers.qa import build
from workers.qa.marking import RED, marked, side_by_side
from workers.qa.reasons import QaReason
from workers.qa.settings import QUESTIONS, QaSettings
from workers.qa.stage import QaStage

WHERE = box(20, 10, 40, 30)
FIRST, SECOND = painted((10, 20, 30)), painted((40, 50, 60))


def task(number: int = 0, where: Box = WHERE) -> Task[RegionCaption]:
    return Task(region_record(where, number), {"first": picture(FIRST), "second": picture(SECOND)})


def red_pixels(image: Image.Image) -> set[tuple[int, int]]:
    rows, columns = np.nonzero((np.asarray(image) == RED).all(axis=2))
    return {(int(x), int(y)) for x, y in zip(columns, rows, strict=True)}


def test_a_sample_has_its_answer_question_and_marked_pictures() -> None:
    describer = FakeDifferenceDescriber(" The left shows a dog,\n the right a cat. ")
    (result,) = QaStage(QaSettings(), describer).process([task()])
    assert isinstance(result, Emit)
    (sample,) = result.records
    region = region_record(WHERE)
    assert sample.id == record_id("qa", region.id, 0)
    assert sample.answer == sample.difference == "The left shows a dog, the right a cat."
    assert sample.question in QUESTIONS
    assert result.seed == seed_of(region.id, "difference")
    assert set(result.images) == {"first_marked", "second_marked"}
    assert result.images["first_marked"] == marked(FIRST, WHERE.grown(5), 3)
    assert result.images["second_marked"] == marked(SECOND, WHERE.grown(5), 3)


def test_the_model_sees_the_marked_pictures_and_both_descriptions() -> None:
    describer = FakeDifferenceDescriber()
    QaStage(QaSettings(), describer).process([task(0), task(1)])
    assert describer.calls == [2]
    request = describer.requests[0]
    assert (request.first_description, request.second_description) == ("a brown dog", "a grey cat")
    assert request.composite == side_by_side(request.first, request.second, 20)
    assert red_pixels(request.first) == red_pixels(request.second) != set()


@pytest.mark.parametrize(
    ("text", "reason"),
    [(" \n ", QaReason.EMPTY_ANSWER), ("x" * (MAX_TEXT_LENGTH + 1), QaReason.ANSWER_TOO_LONG)],
)
def test_reasons(text: str, reason: QaReason) -> None:
    (result,) = QaStage(QaSettings(), FakeDifferenceDescriber(text)).process([task()])
    assert isinstance(result, Reject)
    assert result.reason is reason


def test_questions_vary_by_record_and_never_tell_the_answer() -> None:
    tasks = [task(number) for number in range(60)]
    results = QaStage(QaSettings(), FakeDifferenceDescriber()).process(tasks)
    questions = [result.records[0].question for result in results if isinstance(result, Emit)]
    assert set(questions) == set(QUESTIONS)
    assert not [question for question in questions if "dog" in question or "cat" in question]


def test_questions_are_a_setting() -> None:
    stage = QaStage(QaSettings(questions=("And now?",)), FakeDifferenceDescriber())
    (result,) = stage.process([task()])
    assert isinstance(result, Emit)
    assert result.records[0].question == "And now?"
    for wrong in ((), (" ",)):
        with pytest.raises(ValidationError):
            QaSettings(questions=wrong)


@given(
    st.floats(0, WIDTH - 1),
    st.floats(0, HEIGHT - 1),
    st.floats(0.01, WIDTH),
    st.floats(0.01, HEIGHT),
    st.integers(1, 5),
)
def test_the_red_box_is_the_frame_of_the_box_inside_the_picture(
    x: float, y: float, across: float, down: float, line: int
) -> None:
    x1, y1 = min(x + across, WIDTH), min(y + down, HEIGHT)
    where = Box(x0=x, y0=y, x1=x1, y1=y1, width=WIDTH, height=HEIGHT).grown(5)
    inside = {
        (i, j)
        for i in range(WIDTH)
        for j in range(HEIGHT)
        if i + 1 > where.x0 and i < where.x1 and j + 1 > where.y0 and j < where.y1
    }
    left, top = min(i for i, _ in inside), min(j for _, j in inside)
    right, bottom = max(i for i, _ in inside), max(j for _, j in inside)
    frame = {(i, j) for i, j in inside if min(i - left, right - i, j - top, bottom - j) < line}
    assert red_pixels(marked(FIRST, where, line)) == frame


def test_a_composite_is_both_pictures_with_a_black_bar_between() -> None:
    composite = np.asarray(side_by_side(FIRST, SECOND, 20))
    assert composite.shape == (HEIGHT, 2 * WIDTH + 20, 3)
    assert (composite[:, :WIDTH] == (10, 20, 30)).all()
    assert (composite[:, WIDTH : WIDTH + 20] == 0).all()
    assert (composite[:, WIDTH + 20 :] == (40, 50, 60)).all()


def test_marking_leaves_the_picture_itself_alone() -> None:
    before = FIRST.tobytes()
    marked(FIRST, WHERE, 3)
    assert FIRST.tobytes() == before


class FakeJudge(Fake):
    """Says about the n-th composite that it sees the n-th share, and again from the first after the last."""

    role = "NaturalnessJudge"

    def __init__(self, *shares: float) -> None:
        super().__init__()
        self.seen: list[Image.Image] = []
        self._shares = shares

    def judge(self, composites: Sequence[Image.Image]) -> list[float]:
        self.calls.append(len(composites))
        start = len(self.seen)
        self.seen += composites
        return [self._shares[(start + i) % len(self._shares)] for i in range(len(composites))]


def test_no_pair_is_judged_by_default() -> None:
    assert QaSettings().check_naturalness is False
    describer = FakeDifferenceDescriber()
    stage = QaStage(QaSettings(), describer)
    (result,) = stage.process([task()])
    assert isinstance(result, Emit)
    assert result.scores == {}
    assert stage.models == (describer.identity,)


def test_an_unnatural_pair_is_rejected_before_anything_is_asked_about_it() -> None:
    describer, judge = FakeDifferenceDescriber(), FakeJudge(0.9, 0.1, 0.8)
    stage = QaStage(QaSettings(), describer, judge)
    first, second, third = stage.process([task(0), task(1), task(2)])
    assert isinstance(first, Emit)
    assert isinstance(third, Emit)
    assert isinstance(second, Reject)
    assert second.reason is QaReason.UNNATURAL
    assert [each.scores["naturalness"].value for each in (first, second, third)] == [0.9, 0.1, 0.8]
    assert [result.records[0].id for result in (first, third)] == [
        record_id("qa", region_record(WHERE, number).id, 0) for number in (0, 2)
    ]
    assert describer.calls == [2]
    assert stage.models == (describer.identity, judge.identity)


def test_nothing_is_asked_where_no_pair_is_natural() -> None:
    describer = FakeDifferenceDescriber()
    results = QaStage(QaSettings(), describer, FakeJudge(0.0)).process([task(0), task(1)])
    assert [type(result) for result in results] == [Reject, Reject]
    assert describer.calls == []


def test_a_pair_is_judged_once_for_all_its_regions_and_without_red_boxes() -> None:
    judge = FakeJudge(0.9, 0.1)
    pictures = task().pictures
    regions = [Task(region_record(WHERE, number, index), pictures) for number, index in ((0, 0), (0, 1), (1, 0))]
    results = QaStage(QaSettings(), FakeDifferenceDescriber(), judge).process(regions)
    assert judge.calls == [2]
    assert judge.seen == [side_by_side(FIRST, SECOND, 20)] * 2
    assert not red_pixels(judge.seen[0])
    assert [type(result) for result in results] == [Emit, Emit, Reject]


@pytest.mark.parametrize(("share", "passes"), around(Bounds(low=0.5)))
def test_the_bound_of_naturalness_is_strict(share: float, passes: bool) -> None:
    (result,) = QaStage(QaSettings(), FakeDifferenceDescriber(), FakeJudge(share)).process([task()])
    assert isinstance(result, Emit) is passes
    assert result.scores["naturalness"].bounds == QaSettings().naturalness


def test_a_reply_that_is_no_answer_keeps_the_score_of_its_pair() -> None:
    (result,) = QaStage(QaSettings(), FakeDifferenceDescriber(" "), FakeJudge(0.75)).process([task()])
    assert isinstance(result, Reject)
    assert result.reason is QaReason.EMPTY_ANSWER
    assert result.scores["naturalness"].value == 0.75


def test_a_judge_is_built_only_where_pairs_are_checked() -> None:
    common = load_layers({}).common()
    assert len(build(QaSettings(), common).models) == 1
    with pytest.raises(ConfigurationError, match="naturalness_judge"):
        build(QaSettings(check_naturalness=True), common)
