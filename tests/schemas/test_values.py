"""Scores, boxes, counters, dead-letter headers: the small values that everything is said in."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.counters import MAX_METADATA_BYTES, Counters, OffsetMetadata, ShardMark
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo, attempt_of, input_headers
from schemas.geometry import Box
from schemas.headers import OutcomePart, SourceCoordinates
from schemas.ids import caption_id, record_id, seed_of
from schemas.scores import Bounds
from schemas.topics import ROUTES, TOPICS, Names
from schemas.trail import Candidate

counts = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 9), max_size=3)


def counters() -> st.SearchStrategy[Counters]:
    def build(passed: int, outputs: int, rejected: dict[str, int], failed: dict[str, int]) -> Counters:
        consumed = passed + sum(rejected.values()) + sum(failed.values())
        return Counters(consumed=consumed, passed=passed, outputs=outputs, rejected=rejected, failed=failed)

    return st.builds(build, st.integers(0, 9), st.integers(0, 9), counts, counts)


@pytest.mark.parametrize("bound", [0.35, 0.4, 0.8, 0.85, 0.9, 0.98, 0.99])
def test_bounds_compare_as_float32(bound: float) -> None:
    at = float(np.float32(bound))
    above = float(np.nextafter(np.float32(bound), np.float32(2)))
    below = float(np.nextafter(np.float32(bound), np.float32(-2)))
    strict, inclusive = Bounds(low=bound), Bounds(low=bound, low_inclusive=True)
    assert [strict.measure(v).passes for v in (below, at, above)] == [False, False, True]
    assert [inclusive.measure(v).passes for v in (below, at, above)] == [False, True, True]
    strict, inclusive = Bounds(high=bound), Bounds(high=bound, high_inclusive=True)
    assert [strict.measure(v).passes for v in (below, at, above)] == [True, False, False]
    assert [inclusive.measure(v).passes for v in (below, at, above)] == [True, True, False]


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="lies above"):
        Bounds(low=0.9, high=0.1)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1 = sorted(draw(st.lists(st.integers(0, 60), min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(draw(st.lists(st.integers(0, 40), min_size=2, max_size=2, unique=True)))
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, width=60, height=40)


@given(boxes(), boxes())
def test_iou_is_what_counting_pixels_gives(first: Box, second: Box) -> None:
    def mask(box: Box) -> np.ndarray:
        pixels = np.zeros((40, 60), bool)
        pixels[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
        return pixels

    a, b = mask(first), mask(second)
    assert first.iou(second) == pytest.approx((a & b).sum() / (a | b).sum())
    assert first.iou(second) == second.iou(first)
    assert first.area == a.sum()


@given(boxes(), st.integers(0, 100))
def test_a_grown_box_stays_in_its_image(box: Box, pixels: int) -> None:
    grown = Box.model_validate(box.grown(pixels).model_dump())
    assert grown.area >= box.area


@given(counters(), counters())
def test_counters_add_up_and_survive_the_offset(first: Counters, second: Counters) -> None:
    both = first + second
    assert both == second + first
    assert both.balanced
    metadata = OffsetMetadata(counters=both, shard=ShardMark(token="t", name="n"))
    assert OffsetMetadata.decode(metadata.encode()) == metadata


def test_metadata_is_bounded_and_foreign_metadata_is_told() -> None:
    assert OffsetMetadata.decode("") == OffsetMetadata()
    fits = OffsetMetadata(counters=Counters(rejected={"r" * (MAX_METADATA_BYTES - 20): 1}))
    assert len(fits.encode()) <= MAX_METADATA_BYTES
    with pytest.raises(ValueError, match="4096"):
        OffsetMetadata(counters=Counters(rejected={"r" * MAX_METADATA_BYTES: 1})).encode()
    for foreign in ("hello", "[]", '{"consumed":-1}', '{"other":1}'):
        with pytest.raises(ValueError, match="not a worker's counters"):
            OffsetMetadata.decode(foreign)


def test_a_dead_letter_says_all_that_it_was_told_and_keeps_the_input() -> None:
    letter = DeadLetter(
        kind=DeadLetterKind.REJECTED,
        reason="text_match_low",
        source=SourceCoordinates("a.b/c", 3, 17),
        source_timestamp=1_790_000_000.125,
        worker="boxes/1.0",
        settings_digest="0123456789ab",
        attempt=2,
        failed_at=1_790_000_001.5,
        detail="näher",
        scores={"text_match": Bounds(low=0.4).measure(0.25)},
        candidates=[Candidate(label="first:1", reason="x")] * 100,
        error=ErrorInfo("ValueError", "m" * 5_000, "t" * 9_000),
    )
    own = [("schema", b"pairs/1"), ("other", b"\xff")]
    headers = [*own, *letter.headers()]
    read = DeadLetter.parse(headers)
    assert (read.kind, read.reason, read.source, read.scores) == (
        letter.kind,
        letter.reason,
        letter.source,
        letter.scores,
    )
    assert (read.source_timestamp, read.failed_at, read.detail) == (letter.source_timestamp, letter.failed_at, "näher")
    assert len(read.candidates) == 64
    assert read.error is not None
    assert len(read.error.message) == 1_000
    assert len(read.error.traceback) == 4_000
    assert input_headers(headers) == own
    assert attempt_of(headers) == 3
    assert attempt_of(own) == 1
    with pytest.raises(ValueError, match="not a dead letter"):
        DeadLetter.parse(own)


def test_coordinates_and_parts_read_back() -> None:
    assert SourceCoordinates.parse(str(SourceCoordinates("x/y", 1, 2))) == SourceCoordinates("x/y", 1, 2)
    assert OutcomePart.parse(str(OutcomePart(3, 5))) == OutcomePart(3, 5)


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_ids_of_different_origin_differ(stage: str, parent: str, other_stage: str, other_parent: str) -> None:
    same = (stage, parent) == (other_stage, other_parent)
    assert (record_id(stage, parent, 0) == record_id(other_stage, other_parent, 0)) == same
    assert 0 <= seed_of(parent, "x") < 2**63


def test_a_given_id_and_a_position_never_collide() -> None:
    assert caption_id("s", 17, None) != caption_id("s", 3, "17")


def test_the_table_of_topics_is_a_chain() -> None:
    for upstream, downstream in pairwise(ROUTES):
        assert upstream.writes == downstream.reads
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    names = Names("p")
    assert names.plain_topic(names.topic("edits.rejected")) == "edits.rejected"


def test_a_value_beyond_all_float32_lies_beyond_every_bound() -> None:
    assert Bounds(high=1.0).measure(1e300).too_high
    assert Bounds(low=0.0).measure(-1e300).too_low
