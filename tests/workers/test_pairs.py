"""Pairs: two pictures per edit, and blank ones."""

import pytest
from PIL import Image

from common.models.protocols import PairRequest
from common.runtime.stage import Emit, Reject, Task
from schemas.ids import record_id, seed_of
from schemas.images import NewImage
from schemas.scores import Bounds
from tests.workers.fakes import FakeGenerator, box, edit_record, painted
from workers.pairs.reasons import PairsReason
from workers.pairs.settings import PairsSettings
from workers.pairs.stage import PairsStage

FIRST = painted((10, 20, 30), {box(1, 1, 5, 5): (200, 0, 0)})
SECOND = painted((10, 20, 30), {box(1, 1, 5, 5): (0, 0, 200)})
BLACK = painted((0, 0, 0))
BEIGE = painted((200, 190, 150))


def seeds(count: int) -> list[int]:
    return [seed_of(edit_record().id, f"pair-{i}") for i in range(count)]


def test_a_pair_passes_with_new_pictures_seed_and_truth() -> None:
    (result,) = PairsStage(PairsSettings(), FakeGenerator(lambda _: (FIRST, SECOND))).process([Task(edit_record())])
    assert isinstance(result, Emit)
    (pair,) = result.records
    assert pair.id == record_id("pairs", edit_record().id, 0)
    assert isinstance(pair.first, NewImage)
    assert isinstance(pair.second, NewImage)
    assert result.images == {pair.first.name: FIRST, pair.second.name: SECOND}
    assert result.seed_of(0) == seeds(1)[0]
    assert result.truth_of(0) == {"seed": seeds(1)[0]}
    assert result.scores_of(0)["grey_levels"].value == 170


@pytest.mark.parametrize("blank", [BLACK, BEIGE])
@pytest.mark.parametrize("side", [0, 1])
def test_a_blank_picture_is_rejected(blank: Image.Image, side: int) -> None:
    pair = (FIRST, blank) if side else (blank, SECOND)
    (result,) = PairsStage(PairsSettings(), FakeGenerator(lambda _: pair)).process([Task(edit_record())])
    assert isinstance(result, Reject)
    assert result.reason is PairsReason.BLANK_IMAGE
    assert result.scores["grey_levels"].value == 0


@pytest.mark.parametrize(("levels", "passes"), [(7, False), (8, False), (9, True)])
def test_grey_levels_are_a_bound(levels: int, passes: bool) -> None:
    dim = painted((10, 10, 10), {box(0, 0, 2, 2): (10, 10 + levels, 10)})
    stage = PairsStage(PairsSettings(grey_levels=Bounds(low=8)), FakeGenerator(lambda _: (dim, dim)))
    (result,) = stage.process([Task(edit_record())])
    assert isinstance(result, Emit) is passes


def test_each_seed_gives_a_pair_of_its_own() -> None:
    own = seeds(3)

    def draw(request: PairRequest) -> tuple[Image.Image, Image.Image]:
        return (BLACK, SECOND) if request.seed == own[0] else (FIRST, SECOND)

    generator = FakeGenerator(draw)
    (result,) = PairsStage(PairsSettings(pairs_per_edit=3), generator).process([Task(edit_record())])
    assert isinstance(result, Emit)
    assert generator.calls == [3]
    assert [pair.id for pair in result.records] == [record_id("pairs", edit_record().id, i) for i in (1, 2)]
    assert [result.seed_of(i) for i in (0, 1)] == own[1:]
    assert [result.truth_of(i)["seed"] for i in (0, 1)] == own[1:]
    assert len(result.images) == 4
    assert [(c.label, c.reason) for c in result.dropped] == [("pair-0", PairsReason.BLANK_IMAGE)]


def test_when_all_pairs_are_blank_the_edit_is_rejected_once() -> None:
    generator = FakeGenerator(lambda _: (BLACK, BLACK))
    (result,) = PairsStage(PairsSettings(pairs_per_edit=3), generator).process([Task(edit_record())])
    assert isinstance(result, Reject)
    assert [c.label for c in result.dropped] == ["pair-1", "pair-2"]


def test_pictures_of_two_sizes_are_a_bug() -> None:
    small = painted((1, 1, 1), size=(10, 10))
    with pytest.raises(ValueError, match="expected equal sizes"):
        PairsStage(PairsSettings(), FakeGenerator(lambda _: (FIRST, small))).process([Task(edit_record())])
