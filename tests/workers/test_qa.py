"""Questions and answers, and the marks on the pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from common.runtime.stage import Emit, Reject, Task
from schemas.geometry import Box
from schemas.ids import record_id, seed_of
from schemas.record import MAX_TEXT_LENGTH
from schemas.region_captions import RegionCaption
from tests.workers.fakes import HEIGHT, WIDTH, FakeDifferenceDescriber, box, painted, picture, region_record
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
