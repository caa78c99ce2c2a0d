"""What holds for every stage: a batch gives what its parts give, and nothing is remembered between batches."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.models.protocols import PairRequest
from common.runtime.stage import Reject, Stage, Task
from schemas.geometry import Box
from schemas.scores import Bounds
from tests.workers.fakes import (
    Colour,
    FakeDifferenceDescriber,
    FakeEditor,
    FakeGenerator,
    FakeImageEncoder,
    FakeMatcher,
    FakeRegionDescriber,
    FakeSegmenter,
    FakeTextEncoder,
    box,
    box_record,
    caption_record,
    colour,
    edit_record,
    painted,
    pair_record,
    picture,
    region_record,
)
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


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=7).digest()) / 2**56


class AnyCosine(dict[Any, float]):
    """A cosine for whatever is asked for."""

    def get(self, key: Any, default: Any = None) -> float:
        return chance("cosine", key)


class AnyScore(dict[Any, float]):
    def get(self, key: Any, default: Any = None) -> float:
        return chance("score", key)


class AnySegments(dict[Colour, Sequence[Box]]):
    def get(self, key: Any, default: Any = None) -> list[Box]:
        return [
            box(12 * i, 10, 12 * i + 4 + int(8 * chance("width", key, i)), 30) for i in range(5) if chance(key, i) < 0.7
        ]


REPLIES = [None, "", "It was replaced.", "A dog sits on a sofa.", "A cat sits on a sofa.", "A hen sits on a bed."]


def edits() -> Stage[Any, Any]:
    return EditsStage(
        EditsSettings(edits_per_caption=2), FakeEditor(lambda r: REPLIES[int(len(REPLIES) * chance(r.seed))])
    )


def draw(request: PairRequest) -> tuple[Image.Image, Image.Image]:
    plain, paint = painted((1, 2, 3)), colour(int(1e6 * chance(request.seed)))
    other = painted((1, 2, 3), {box(1, 1, 9, 9): paint})
    return (plain if chance("plain", request.seed) < 0.5 else other), other


def pairs() -> Stage[Any, Any]:
    return PairsStage(PairsSettings(pairs_per_edit=2), FakeGenerator(draw))


def boxes() -> Stage[Any, Any]:
    chosen = BoxesSettings(pair_similarity=Bounds(low=0.2), crops_per_call=6, max_boxes=2)
    return BoxesStage(chosen, FakeImageEncoder(AnyCosine()), FakeSegmenter(AnySegments()), FakeMatcher(AnyScore()))


def region_captions() -> Stage[Any, Any]:
    chosen = RegionCaptionsSettings(text_match=Bounds(low=0.2))
    return RegionCaptionsStage(chosen, FakeRegionDescriber(), FakeMatcher(AnyScore()), FakeTextEncoder(AnyCosine()))


def qa() -> Stage[Any, Any]:
    return QaStage(QaSettings(), FakeDifferenceDescriber())


def pictures(number: int) -> dict[str, Any]:
    return {
        side: picture(
            painted(
                colour(7 * number + offset),
                {box(12 * i, 10, 12 * i + 11, 30): colour(97 * number + 10 * i + offset) for i in range(5)},
            )
        )
        for offset, side in enumerate(("first", "second"))
    }


def place(number: int) -> Box:
    return box(12 * (number % 5), 10, 12 * (number % 5) + 1 + number % 9, 30)


TASKS: dict[str, tuple[Callable[[], Stage[Any, Any]], Callable[[int], Task[Any]]]] = {
    "edits": (edits, lambda n: Task(caption_record(number=n))),
    "pairs": (pairs, lambda n: Task(edit_record(number=n))),
    "boxes": (boxes, lambda n: Task(pair_record(number=n), pictures(n))),
    "region-captions": (region_captions, lambda n: Task(box_record(place(n), n // 3, n), pictures(n // 3))),
    "qa": (qa, lambda n: Task(region_record(place(n), n // 3, n), pictures(n // 3))),
}


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=15, deadline=None)
@given(numbers=st.lists(st.integers(0, 30), max_size=6), cut=st.integers(0, 6))
def test_a_batch_gives_what_its_parts_give(name: str, numbers: list[int], cut: int) -> None:
    build, task = TASKS[name]
    tasks = [task(number) for number in numbers]
    stage = build()
    whole = list(stage.process(tasks))
    assert len(whole) == len(tasks)
    assert whole == [outcome for one in tasks for outcome in build().process([one])]
    assert whole == [*stage.process(tasks[:cut]), *stage.process(tasks[cut:])]


@pytest.mark.parametrize("name", TASKS)
def test_the_batches_above_hold_outcomes_of_both_kinds(name: str) -> None:
    build, task = TASKS[name]
    outcomes = build().process([task(number) for number in range(31)])
    rejected = [isinstance(outcome, Reject) for outcome in outcomes]
    assert not all(rejected)
    assert any(rejected) or name == "qa"
