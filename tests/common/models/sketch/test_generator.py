import hashlib

import numpy as np
import pytest
from PIL import Image, ImageChops

from common.models.protocols import PairRequest
from common.models.sketch.generator import SketchPairGenerator
from common.models.sketch.scene import SIZE
from common.models.sketch.truth import Defect
from tests.common.models.sketch.cases import Case, cases, draw, generator

GRAIN = 12
"""The most that two pictures of one scene differ by where nothing was edited: each one's grain, both ways."""


def _changed(first: Image.Image, second: Image.Image) -> np.ndarray:
    """Where two pictures differ by more than their grain."""
    difference = np.asarray(ImageChops.difference(first, second)).max(axis=2)
    changed: np.ndarray = difference > GRAIN
    return changed


def _outside(mask: np.ndarray, boxes: list[list[int]]) -> int:
    left = mask.copy()
    for x0, y0, x1, y1 in boxes:
        left[y0:y1, x0:x1] = False
    return int(left.sum())


@pytest.fixture(scope="module")
def some() -> list[Case]:
    return cases(60, seed=7)


def test_only_the_edited_object_differs(some: list[Case]) -> None:
    for case in some:
        pair = draw(case)
        changed = _changed(pair.first, pair.second)
        assert changed.any()
        assert _outside(changed, pair.truth["boxes"]) == 0
        assert (pair.truth["first"], pair.truth["second"]) == ([case.first], [case.second])


def test_pictures_are_rgb_of_one_size_and_boxes_lie_inside(some: list[Case]) -> None:
    for case in some:
        pair = draw(case)
        for picture in (pair.first, pair.second):
            assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))
        for x0, y0, x1, y1 in [*pair.truth["boxes"], *(box for _, box in pair.truth["others"])]:
            assert 0 < x0 < x1 < SIZE
            assert 0 < y0 < y1 < SIZE


def test_equal_requests_give_equal_bytes_whatever_else_is_in_the_batch(some: list[Case]) -> None:
    requests = [PairRequest(case.caption, case.edited, case.seed) for case in some]
    batch = SketchPairGenerator().draw(requests)
    for request, pair in zip(requests[::-1], batch[::-1], strict=True):
        again = SketchPairGenerator().draw([request])[0]
        assert again.first.tobytes() == pair.first.tobytes()
        assert again.second.tobytes() == pair.second.tobytes()
        assert again.truth == pair.truth


def test_the_pictures_of_this_revision_stay_what_they_are() -> None:
    """Whoever changes this raises `REVISION`: a redo has to give the bytes that were stored."""
    pair = generator().draw([PairRequest("A red car next to a house.", "A red bus next to a house.", 5)])[0]
    digest = hashlib.sha256(pair.first.tobytes() + pair.second.tobytes()).hexdigest()
    assert digest[:16] == "ef5a5a964809b39c"


def test_seeds_move_things() -> None:
    request = ("A dog.", "A cat.")
    boxes = {str(generator().draw([PairRequest(*request, seed)])[0].truth["boxes"]) for seed in range(8)}
    assert len(boxes) > 4


def test_a_plural_is_drawn_twice() -> None:
    pair = generator().draw([PairRequest("Two dogs.", "Two cats.", 1)])[0]
    assert len(pair.truth["boxes"]) == 2


def test_a_colour_in_the_caption_is_the_colour_of_the_object() -> None:
    pair = generator().draw([PairRequest("A purple dog in the grass.", "A purple cat in the grass.", 1)])[0]
    for picture in (pair.first, pair.second):
        assert (124, 66, 158) in {colour for _, colour in picture.getcolors(SIZE * SIZE) or []}


def test_a_faint_edit_hardly_shows(some: list[Case]) -> None:
    pair = draw(some[0], Defect.FAINT_EDIT)
    difference = np.asarray(ImageChops.difference(pair.first, pair.second))
    assert 0 < difference.max() < 32


def test_a_changed_scene_differs_beyond_the_edited_object(some: list[Case]) -> None:
    pair = draw(some[0], Defect.SCENE_CHANGED)
    assert _outside(_changed(pair.first, pair.second), pair.truth["boxes"]) > SIZE * SIZE / 4


def test_an_object_drawn_twice_stands_where_the_first_picture_has_nothing(some: list[Case]) -> None:
    pair = draw(some[0], Defect.DRAWN_TWICE)
    (extra,) = pair.truth["extra_boxes"]
    changed = _changed(pair.first, pair.second)
    assert _outside(changed, pair.truth["boxes"]) > 0
    assert _outside(changed, [*pair.truth["boxes"], extra]) == 0


def test_a_blank_picture_is_black(some: list[Case]) -> None:
    pair = draw(some[0], Defect.BLANK)
    assert sorted(picture.getbbox() is None for picture in (pair.first, pair.second)) == [False, True]


def test_captions_without_anything_known_still_give_pictures() -> None:
    for caption in ("", "Жираф", "ok 🐕" * 50):
        pair = SketchPairGenerator(wrong_object_rate=0.5, drawn_twice_rate=0.2).draw(
            [PairRequest(caption, caption, 3)]
        )[0]
        assert pair.truth["defect"] in {None, Defect.SCENE_CHANGED, Defect.BLANK}
        assert pair.first.size == (SIZE, SIZE)


def test_an_object_of_one_caption_alone_stands_in_one_picture_alone() -> None:
    pair = generator().draw([PairRequest("A dog in a field.", "A giraffe in a field.", 3)])[0]
    assert (pair.truth["first"], pair.truth["second"]) == (["dog"], [None])
    assert _changed(pair.first, pair.second).any()


def test_the_same_object_twice_in_a_caption_stays_in_its_place() -> None:
    pair = generator().draw([PairRequest("A dog and a dog.", "A dog and a cow.", 3)])[0]
    assert (pair.truth["first"], pair.truth["second"]) == (["dog"], ["cow"])
