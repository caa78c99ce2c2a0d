"""What other bounds would have decided, from the scores that are stored; no model runs.

A filter that was never reached, because one before it said no, has left no score: what it would say stays open.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from common.kafka import ConsumedRecord, Share, read_to_end
from common.settings import CommonSettings, Layers, section_of
from ops.dead_letters.filters import Filter
from ops.dead_letters.reading import find_letters
from ops.dead_letters.sharing import of_shares
from ops.workers import spec_of
from schemas import codec, headers
from schemas.dead_letters import ATTEMPT, DeadLetter, DeadLetterKind
from schemas.invalid import InvalidRecord
from schemas.scores import Bounds, Score, Scores
from schemas.topics import ROUTES, Names
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


def filter_settings(stage: str) -> list[str]:
    """The settings of a stage's section that say what its filters hold scores to: the bounds, and what switches them."""
    kind = spec_of(stage).settings
    default = kind()
    others = {name: not value for name, value in default if isinstance(value, bool)}
    bounds = default.bounds()
    return [*bounds, *(name for name, on in others.items() if kind.model_validate({name: on}).bounds() != bounds)]


def score_names(stage: str) -> list[str]:
    """The scores that a stage's filters compare."""
    return list(spec_of(stage).settings().bounds())


def would_pass(letter: DeadLetter, bounds: Mapping[str, Bounds]) -> bool:
    """Whether an input that scores had rejected passes every filter that measured it, under other bounds.

    Where the stage weighed several things inside one input, one of them has to. What was turned away for something else
    than a score stays turned away.
    """
    if letter.kind is not DeadLetterKind.REJECTED:
        return False
    # In this order: under bounds that are much like the old ones, hardly any passes.
    if _all_pass(letter.scores, bounds) and _decided(letter.scores):
        return True
    return _another_passes(letter.scores, letter.candidates, bounds)


@dataclass(slots=True)
class FilterVerdicts:
    """What other bounds change about one filter: rejections of its that now pass, records that passed it and now would
    not."""

    rejected_would_pass: int = 0
    passed_would_not: int = 0


@dataclass(slots=True)
class StageVerdicts:
    """What other bounds change about one stage. `rejected` are all its rejections that are stored, one for each attempt of
    an input, and `passed` all inputs that passed and of which anything is stored."""

    stage: str
    bounds: Mapping[str, Bounds]
    rejected: int = 0
    would_pass: int = 0
    passed: int = 0
    would_not: int = 0
    filters: dict[str, FilterVerdicts] = field(default_factory=dict)

    def reject(self, letter: DeadLetter) -> None:
        """Count a rejection."""
        self.rejected += 1
        self.would_pass += would_pass(letter, self.bounds)
        for name, score in letter.scores.items():
            if not score.passes and _passes(name, score, self.bounds):
                self._of(name).rejected_would_pass += 1

    def accept(self, steps: Sequence[TrailStep]) -> None:
        """Count an input that passed; `steps` are the stage's entries in the trails of what became of it."""
        self.passed += 1
        for step in steps:
            for name, score in step.scores.items():
                if score.passes and not _passes(name, score, self.bounds):
                    self._of(name).passed_would_not += 1
        self.would_not += not any(
            _all_pass(step.scores, self.bounds) or _another_passes(step.scores, step.dropped, self.bounds)
            for step in steps
        )

    def merge(self, other: "StageVerdicts") -> None:
        """Take in what was counted elsewhere under the same bounds."""
        self.rejected += other.rejected
        self.would_pass += other.would_pass
        self.passed += other.passed
        self.would_not += other.would_not
        for name, theirs in other.filters.items():
            ours = self._of(name)
            ours.rejected_would_pass += theirs.rejected_would_pass
            ours.passed_would_not += theirs.passed_would_not

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

    def _of(self, name: str) -> FilterVerdicts:
        return self.filters.setdefault(name, FilterVerdicts())


def what_if(layers: Layers, common: CommonSettings, stage: str, wanted: Filter) -> StageVerdicts:
    """What the bounds of these settings would change about one stage: about its dead letters that are `wanted`, and about
    the records behind it that are still in their topic. Raises ConfigurationError."""
    verdicts = StageVerdicts(stage, bounds_in_force(layers, stage))
    topics = [*map(Names(common.prefix).topic, wanted.topics()), _behind(common, stage)]
    for part in of_shares(common, topics, partial(_of_share, common, wanted, stage, verdicts.bounds)):
        verdicts.merge(part)
    return verdicts


def _of_share(
    common: CommonSettings, wanted: Filter, stage: str, bounds: Mapping[str, Bounds], share: Share
) -> StageVerdicts:
    verdicts = StageVerdicts(stage, bounds)
    for found in find_letters(common, wanted, share=share):
        if found.letter is not None and found.letter.kind is DeadLetterKind.REJECTED:
            verdicts.reject(found.letter)
    for steps in _passed(common, stage, share):
        verdicts.accept(steps)
    return verdicts


def _behind(common: CommonSettings, stage: str) -> str:
    """The topic that a stage writes, by its full name."""
    [topic] = [route.writes for route in ROUTES if route.worker == stage and route.writes]
    return Names(common.prefix).topic(topic)


def _passed(common: CommonSettings, stage: str, share: Share) -> Iterator[Sequence[TrailStep]]:
    """For every input that passed: the stage's entries in the trails of its records, which lie one behind the other."""
    made = (
        (record.partition, source, step)
        for record in read_to_end(common.kafka, [_behind(common, stage)], share=share)
        # What has been sent again is the same record once more.
        if headers.text_header(record.headers, ATTEMPT) is None
        and (source := headers.text_header(record.headers, headers.SOURCE)) is not None
        and (step := _step(record, stage)) is not None
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


def _another_passes(scores: Scores, candidates: Iterable[Candidate], bounds: Mapping[str, Bounds]) -> bool:
    """Whether one of the things that were weighed inside an input passes now, which a score had turned away. Each has its
    own scores, and those that the input has and none of them has of its own.
    """
    given = [candidate.scores for candidate in candidates if candidate.scores]
    own = {name for each in given for name in each}
    shared = {name: score for name, score in scores.items() if name not in own}
    if not given or not _all_pass(shared, bounds):
        return False
    return any(_all_pass(each, bounds) and (_decided(each) or _decided(shared)) for each in given)


def _decided(scores: Scores) -> bool:
    """Whether a score was what turned it away."""
    return not all(score.passes for score in scores.values())


def _all_pass(scores: Scores, bounds: Mapping[str, Bounds]) -> bool:
    # No `all` over a generator: that takes twice as long, and this is asked of every score of every record.
    for name, score in scores.items():  # noqa: SIM110
        if not _passes(name, score, bounds):
            return False
    return True


def _passes(name: str, score: Score, bounds: Mapping[str, Bounds]) -> bool:
    """Where the settings have no such bounds, those hold that the score was held to."""
    return bounds.get(name, score.bounds).holds(score.value)
