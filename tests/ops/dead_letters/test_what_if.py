"""What other bounds would have decided, against a run of the real stage's filters under those bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.settings import load_layers
from ops.dead_letters.what_if import FILTERING, StageVerdicts, bounds_in_force, filter_settings, stages_of, would_pass
from schemas.dead_letters import DeadLetter, DeadLetterKind
from schemas.scores import Bounds, Scores
from schemas.trail import Candidate, TrailStep
from tests.ops.dead_letters.letters import POISON, REJECTED

OLD = {"pair": Bounds(low=0.9, high=0.98), "crop": Bounds(high=0.85), "match": Bounds(low=0.35)}
VALUES = st.floats(0, 1, width=32)
NEW = st.builds(
    lambda pair, crop, match: {
        "pair": Bounds(low=min(pair), high=max(pair)),
        "crop": Bounds(high=crop),
        "match": Bounds(low=match),
    },
    st.tuples(VALUES, VALUES),
    VALUES,
    VALUES,
)
INPUTS = st.tuples(VALUES, st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=4))


def rejected(scores: Scores, *candidates: Scores) -> DeadLetter:
    dropped = [Candidate(label=str(index), reason="r", scores=each) for index, each in enumerate(candidates)]
    return replace(REJECTED, scores=scores, candidates=dropped)


def decide(pair: float, boxes: list[tuple[float, float]], bounds: dict[str, Bounds]) -> DeadLetter | list[TrailStep]:
    """What a stage does that first looks at a pair and then at its boxes, with everything of every box measured."""
    whole = {"pair": bounds["pair"].measure(pair)}
    if not whole["pair"].passes:
        return rejected(whole)
    each = [{"crop": bounds["crop"].measure(crop), "match": bounds["match"].measure(match)} for crop, match in boxes]
    good = [scores for scores in each if all(score.passes for score in scores.values())]
    bad = [scores for scores in each if scores not in good]
    if not good:
        return rejected({**whole, **bad[0]}, *bad)
    dropped = tuple(Candidate(label="d", reason="r", scores=scores) for scores in bad)
    return [
        TrailStep(
            stage="boxes", worker_version="1", settings_digest="d", scores={**whole, **scores},
            dropped=dropped if index == 0 else (),
        )
        for index, scores in enumerate(good)
    ]  # fmt: skip


@given(st.lists(INPUTS, max_size=8), NEW)
def test_the_answer_is_what_the_stage_would_have_done(
    inputs: list[tuple[float, list[tuple[float, float]]]], new: dict[str, Bounds]
) -> None:
    verdicts = StageVerdicts("boxes", new)
    gained = lost = 0
    for pair, boxes in inputs:
        before, after = decide(pair, boxes, OLD), decide(pair, boxes, new)
        if isinstance(before, DeadLetter):
            verdicts.reject(before)
            # Of a pair that was turned away nothing else was measured: what is measured passes.
            measured = bool(before.candidates) or not new["pair"].measure(pair).passes
            gained += isinstance(after, list) if measured else 1
        else:
            verdicts.accept(before)
            lost += isinstance(after, DeadLetter)
    assert (verdicts.would_pass, verdicts.would_not) == (gained, lost)
    assert verdicts.rejected + verdicts.passed == len(inputs)


def test_each_filter_is_counted_alone() -> None:
    verdicts = StageVerdicts("boxes", {"pair": Bounds(low=0.88, high=0.95), "other": Bounds()})
    for value in (0.85, 0.89, 0.99):
        verdicts.reject(rejected({"pair": OLD["pair"].measure(value)}))
    for value in (0.93, 0.96):
        verdicts.accept([TrailStep(stage="s", worker_version="1", settings_digest="d",
                                   scores={"pair": OLD["pair"].measure(value)})])  # fmt: skip
    said = verdicts.to_json()
    assert (said["rejected"], said["would_pass"], said["passed"], said["would_not"]) == (3, 1, 2, 1)
    assert said["filters"]["pair"]["rejected_would_pass"] == 1
    assert said["filters"]["pair"]["passed_would_not"] == 1
    assert said["filters"]["other"]["rejected_would_pass"] == 0


def test_what_no_score_decided_stays_where_it_is() -> None:
    open_ = {"pair": Bounds(), "added_words": Bounds()}
    assert not would_pass(rejected({}), open_)
    assert not would_pass(rejected({"pair": OLD["pair"].measure(0.95)}), open_)
    assert not would_pass(rejected({"pair": OLD["pair"].measure(0.95)}, {}), open_)
    assert not would_pass(replace(POISON, scores=REJECTED.scores), open_)
    assert REJECTED.kind is DeadLetterKind.REJECTED
    assert would_pass(REJECTED, open_)


def test_bounds_come_from_all_layers_of_the_settings() -> None:
    layers = load_layers({"IMGDIFF_BOXES__PAIR_SIMILARITY__LOW": "0.7"}, flags=["boxes.crop_similarity.high=0.5"])
    bounds = bounds_in_force(layers, "boxes")
    assert bounds["pair_similarity"] == Bounds(low=0.7, high=0.98)
    assert bounds["crop_similarity"] == Bounds(high=0.5)


def test_a_filter_that_is_switched_off_lets_everything_pass() -> None:
    off = load_layers({}, flags=["region_captions.skip_text_match=true"])
    assert bounds_in_force(off, "region-captions")["text_match"] == Bounds()
    assert bounds_in_force(load_layers({}), "region-captions")["text_match"] != Bounds()
    assert bounds_in_force(load_layers({}), "qa")["naturalness"] == Bounds()
    on = load_layers({}, flags=["qa.check_naturalness=true"])
    assert bounds_in_force(on, "qa")["naturalness"] != Bounds()


def test_what_changes_a_filter_are_its_bounds_and_what_switches_it_off() -> None:
    assert filter_settings("qa") == ["naturalness", "check_naturalness"]
    assert filter_settings("region-captions") == ["text_match", "text_similarity", "skip_text_match"]
    assert filter_settings("pairs") == ["grey_levels"]


@pytest.mark.parametrize(
    ("flags", "stages"),
    [
        ((), FILTERING),
        (("kafka.bootstrap_servers=x",), FILTERING),
        (("boxes.pair_similarity.low=0.88", "region-captions.text_match.low=0.3"), ("boxes", "region-captions")),
    ],
)
def test_the_stages_are_those_that_a_setting_names(flags: tuple[str, ...], stages: tuple[str, ...]) -> None:
    assert stages_of(flags) == stages
