"""Encoders, segmenter and matcher: what they measure, and that they take whatever comes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from common.models.protocols import RegionRequest
from common.models.sketch.describers import SketchRegionDescriber
from common.models.sketch.encoders import SketchImageEncoder, SketchTextEncoder
from common.models.sketch.matcher import SketchMatcher
from common.models.sketch.segmenter import SketchSegmenter
from common.models.sketch.truth import Defect
from common.models.sketch.vocabulary import CONCEPTS
from schemas.geometry import Box
from tests.common.models.sketch.cases import EDITABLE, Case, cases, draw
from tests.common.models.sketch.regions import best_iou

KINDS = {concept.name: concept.kind for concept in CONCEPTS}

PICTURES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))).map(Image.fromarray)


@pytest.fixture(scope="module")
def some() -> list[Case]:
    return cases(100, seed=3)


def _cosine(first: Image.Image, second: Image.Image) -> float:
    vectors = SketchImageEncoder().encode_images([first, second])
    return float(vectors[0] @ vectors[1])


def _whole(image: Image.Image) -> Box:
    return Box(x0=0, y0=0, x1=image.width, y1=image.height, width=image.width, height=image.height)


@settings(max_examples=60, deadline=None)
@given(st.lists(PICTURES, min_size=1, max_size=3))
def test_any_picture_is_measured_and_alone_as_among_others(pictures: list[Image.Image]) -> None:
    encoder, segmenter, matcher = SketchImageEncoder(), SketchSegmenter(), SketchMatcher()
    describer = SketchRegionDescriber()
    texts = [["a dog", "an animal", "an empty patch", "", "犬"]] * len(pictures)
    regions = [RegionRequest(picture, [_whole(picture)], [1]) for picture in pictures]
    vectors, boxes = encoder.encode_images(pictures), segmenter.segment(pictures)
    scores, described = matcher.match(pictures, texts), describer.describe_regions(regions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for index, picture in enumerate(pictures):
        assert np.array_equal(encoder.encode_images([picture])[0], vectors[index])
        assert segmenter.segment([picture])[0] == boxes[index]
        assert matcher.match([picture], texts[:1])[0] == scores[index]
        assert describer.describe_regions([regions[index]])[0] == described[index]
        assert all((box.width, box.height) == picture.size for box in boxes[index])
        assert all(-1 <= score <= 1 for score in scores[index])
        assert described[index][0].text


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (256, 256)])
def test_a_black_picture_shows_nothing(size: tuple[int, int]) -> None:
    black = Image.new("RGB", size)
    assert SketchSegmenter().segment([black]) == [[]]
    assert np.isfinite(SketchImageEncoder().encode_images([black])).all()
    assert max(SketchMatcher().match([black], [[concept.name for concept in CONCEPTS]])[0]) < 0.35


def test_nothing_in_gives_nothing_out() -> None:
    assert SketchImageEncoder().encode_images([]).shape[0] == 0
    assert SketchTextEncoder().encode_texts([]).shape[0] == 0
    assert SketchSegmenter().segment([]) == []
    assert SketchMatcher().match([], []) == []
    assert SketchMatcher().match([Image.new("RGB", (9, 9))], [[]]) == [[]]


def test_pairs_fall_into_the_published_windows(some: list[Case]) -> None:
    normal = [_cosine(pair.first, pair.second) for pair in map(draw, some)]
    faint = [_cosine(pair.first, pair.second) for pair in (draw(case, Defect.FAINT_EDIT) for case in some[:30])]
    other = [_cosine(pair.first, pair.second) for pair in (draw(case, Defect.SCENE_CHANGED) for case in some[:30])]
    assert np.mean([0.9 < cosine < 0.98 for cosine in normal]) >= 0.97
    assert min(faint) > 0.98
    assert max(other) < 0.85


def test_crops_differ_where_the_object_does_and_nowhere_else(some: list[Case]) -> None:
    for case in some:
        pair = draw(case)
        for box in pair.truth["boxes"]:
            assert _cosine(pair.first.crop(box), pair.second.crop(box)) < 0.85
        for _, box in pair.truth["others"]:
            assert _cosine(pair.first.crop(box), pair.second.crop(box)) > 0.98


def test_segments_cover_every_object(some: list[Case]) -> None:
    covered = []
    for case in some:
        pair = draw(case)
        (segments,) = SketchSegmenter().segment([pair.first])
        places = [*pair.truth["boxes"], *(box for _, box in pair.truth["others"])]
        covered += [max(best_iou(segment, [place]) for segment in segments) >= 0.5 for place in places]
    assert np.mean(covered) >= 0.97


def test_closer_scales_find_more_and_near_duplicates_count_once(some: list[Case]) -> None:
    pair = draw(some[0])
    (segments,) = SketchSegmenter().segment([pair.first])
    assert all(a.iou(b) <= 0.9 for i, a in enumerate(segments) for b in segments[:i])
    with pytest.raises(ValueError, match="scales"):
        SketchSegmenter(scales=[-1])


def test_the_right_word_scores_high_and_a_wrong_one_low(some: list[Case]) -> None:
    matcher, rng = SketchMatcher(), np.random.default_rng(0)
    right, wrong, kinds = [], [], []
    for case in some:
        pair = draw(case)
        box = pair.truth["boxes"][0]
        for picture, name in ((pair.first, case.first), (pair.second, case.second)):
            others = [other.name for other in EDITABLE if other.name != name]
            strangers = [others[int(i)] for i in rng.choice(len(others), 5, replace=False)]
            texts = [name, KINDS[name].phrase, *strangers]
            score, kind, *rest = matcher.match([picture.crop(box)], [texts])[0]
            right.append(score > 0.4)
            kinds.append(0.4 < kind < score)
            wrong += [stranger < 0.35 for stranger in rest]
    assert np.mean(right) >= 0.97
    assert np.mean(wrong) >= 0.97
    assert np.mean(kinds) >= 0.95


def test_a_bare_patch_supports_no_text_and_an_object_no_emptiness(some: list[Case]) -> None:
    pair = draw(some[0], Defect.DRAWN_TWICE)
    (extra,) = pair.truth["extra_boxes"]
    bare, full = (picture.crop(extra) for picture in (pair.first, pair.second))
    matcher = SketchMatcher()
    emptiness, dog = matcher.match([bare], [["an empty patch of green grass", "a dog"]])[0]
    assert dog < emptiness < 0.4
    assert matcher.match([full], [["an empty patch of green grass"]])[0][0] < emptiness


def test_texts_are_alike_as_far_as_they_name_the_same() -> None:
    texts = [
        "a brown dog on green grass",
        "a brown dog on green grass",
        "a brown cat on green grass",
        "an animal",
        "",
        "犬",
    ]
    vectors = SketchTextEncoder().encode_texts(texts)
    cosines = vectors @ vectors.T
    assert np.allclose(np.diag(cosines), 1, atol=1e-5)
    assert cosines[0, 1] == pytest.approx(1)
    assert 0.2 < cosines[0, 2] < 0.8
    assert cosines[0, 3] < 0.8
    assert np.array_equal(SketchTextEncoder().encode_texts([texts[2]])[0], vectors[2])
