"""What other bounds would have decided, from the scores that are stored; no model runs.

A filter that was never reached, because one before it said no, has left no score: what it would say stays open.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from common.kafka import ConsumedRecord, read_to_end
from common.settings import CommonSettings, Layers, section_of
from ops.dead_letters.filters import Filter
from ops.dead_letters.reading import find_letters
from ops.workers import spec_of
from schemas import codec, headers
from schemas.dead_letters import ATTEMPT, DeadLetter, DeadLetterKind
from schemas.invalid import InvalidRecord
from schemas.scores import Bounds, Score, Scores
from schemas.topics import ROUTES, Names, Route
from schemas.trail import Candidate, TrailStep

FILTERING = tuple(route.worker for route in ROUTES if route.writes)
"""The stages that weigh their inputs. The sink takes what comes."""


def bounds_in_force(layers: Layers, stage: str) -> dict[str, Bounds]:
    """What a stage's filters hold scores to under these settings. Raises ConfigurationError."""
    spec = spec_of(stage)
    found: dict[str, Bounds] = layers.section(section_of(stage), spec.settings).bounds()
    return found


def stages_of(flags: Sequence[str]) -> tuple[str, ...]:
    """The stages whose sections these `--set` assignments name; all where they name none."""
    sections = {flag.replace("-", "_").partition(".")[0] for flag in flags}
    return tuple(stage for stage in FILTERING if section_of(stage) in sections) or FILTERING


def score_names(stage: str) -> list[str]:
    """The scores that a stage's filters compare."""
    return list(spec_of(stage).settings().bounds())


def would_pass(letter: DeadLetter, bounds: Mapping[str, Bounds]) -> bool:
    """Whether an input that scores had rejected passes every filter that measured it, under other bounds.

    Where the stage weighed several things inside one input, one of them has to. What was turned away for something else
    than a score stays turned away.
    """
    return letter.kind is DeadLetterKind.REJECTED and any(
        # In this order: under bounds that are much like the old ones, hardly any passes.
        _passes(scores, bounds) and _decided(scores)
        for scores in (letter.scores, *_weighed(letter.scores, letter.candidates))
    )


@dataclass(slots=True)
class FilterVerdicts:
    """What other bounds change about one filter: inputs that it rejected and now lets pass, records that passed it and
    now would not."""

    rejected_would_pass: int = 0
    passed_would_not: int = 0


@dataclass(slots=True)
class StageVerdicts:
    """What other bounds change about one stage. `rejected` and `passed` are all inputs of which anything is stored."""

    stage: str
    bounds: Mapping[str, Bounds]
    rejected: int = 0
    would_pass: int = 0
    passed: int = 0
    would_not: int = 0
    filters: dict[str, FilterVerdicts] = field(default_factory=dict)

    def reject(self, letter: DeadLetter) -> None:
        """Count an input that was rejected."""
        self.rejected += 1
        self.would_pass += would_pass(letter, self.bounds)
        for name, score in letter.scores.items():
            if not score.passes and self._now(name, score):
                self._of(name).rejected_would_pass += 1

    def accept(self, steps: Sequence[TrailStep]) -> None:
        """Count an input that passed; `steps` are the stage's entries in the trails of what became of it."""
        self.passed += 1
        for step in steps:
            for name, score in step.scores.items():
                if score.passes and not self._now(name, score):
                    self._of(name).passed_would_not += 1
        self.would_not += not any(
            _passes(step.scores, self.bounds)
            or any(_decided(one) and _passes(one, self.bounds) for one in _weighed(step.scores, step.dropped))
            for step in steps
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "rejected": self.rejected,
            "would_pass": self.would_pass,
            "passed": self.passed,
            "would_not": self.would_not,
            "filters": {
                name: {
                    **bounds.model_dump(mode="json"),
                    "rejected_would_pass": self._of(name).rejected_would_pass,
                    "passed_would_not": self._of(name).passed_would_not,
                }
                for name, bounds in self.bounds.items()
            },
        }

    def _now(self, name: str, score: Score) -> bool:
        return _passes({name: score}, self.bounds)

    def _of(self, name: str) -> FilterVerdicts:
        return self.filters.setdefault(name, FilterVerdicts())


def what_if(layers: Layers, common: CommonSettings, stage: str, wanted: Filter) -> StageVerdicts:
    """What the bounds of these settings would change about one stage: about its dead letters that are `wanted`, and about
    the records behind it that are still in their topic. Raises ConfigurationError."""
    verdicts = StageVerdicts(stage, bounds_in_force(layers, stage))
    for found in find_letters(common, wanted):
        if found.letter is not None and found.letter.kind is DeadLetterKind.REJECTED:
            verdicts.reject(found.letter)
    [route] = [route for route in ROUTES if route.worker == stage]
    for steps in _passed(common, route):
        verdicts.accept(steps)
    return verdicts


def _passed(common: CommonSettings, route: Route) -> Iterator[Sequence[TrailStep]]:
    """For every input that passed: the stage's entries in the trails of its records, which lie one behind the other."""
    assert route.writes is not None
    made = (
        (record.partition, source, step)
        for record in read_to_end(common.kafka, [Names(common.prefix).topic(route.writes)])
        # What has been sent again is the same record once more.
        if headers.text_header(record.headers, ATTEMPT) is None
        and (source := headers.text_header(record.headers, headers.SOURCE)) is not None
        and (step := _step(record, route.worker)) is not None
    )
    for _, records in groupby(made, key=lambda each: each[:2]):
        yield [step for _, _, step in records]


def _step(record: ConsumedRecord, stage: str) -> TrailStep | None:
    """The stage's own entry; None where the record has none, which then something else wrote."""
    try:
        trail = codec.fields_of(record.value or b"").get("trail")
        step = TrailStep.model_validate(trail[-1]) if isinstance(trail, list) and trail else None
    except (InvalidRecord, ValidationError):
        return None
    return step if step is not None and step.stage == stage else None


def _weighed(scores: Scores, candidates: Iterable[Candidate]) -> Iterator[Scores]:
    """All scores of each candidate: its own, and those that the input has and no candidate has of its own."""
    given = [candidate.scores for candidate in candidates if candidate.scores]
    own = {name for each in given for name in each}
    shared = {name: score for name, score in scores.items() if name not in own}
    return ({**shared, **each} for each in given)


def _decided(scores: Scores) -> bool:
    """Whether a score was what turned it away."""
    return any(not score.passes for score in scores.values())


def _passes(scores: Scores, bounds: Mapping[str, Bounds]) -> bool:
    for name, score in scores.items():
        window = bounds.get(name, score.bounds)
        if window.above(score.value) or window.below(score.value):
            return False
    return True
