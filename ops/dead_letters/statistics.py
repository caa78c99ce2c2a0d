"""Dead letters counted, and their scores as quantiles and histograms, in memory that does not grow with their number."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.dead_letters.reading import FoundLetter
from schemas.scores import Bounds, Score

MAX_GROUPS = 1_000
"""Kinds of dead letters that are told apart, and names of scores. Both are few, unless somebody else writes there."""
OTHERS = "(others)"
DIGITS = 4
MAX_BUCKETS = 20_000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20


class Spread:
    """How values are spread. They are kept to 4 digits, or to fewer where they lie too far apart for that."""

    def __init__(self) -> None:
        self.count = 0
        self.least = math.inf
        self.most = -math.inf
        self._digits = DIGITS
        self._buckets: Counter[float] = Counter()

    def add(self, value: float) -> None:
        self.count += 1
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        self._buckets[self._rounded(value)] += 1
        if len(self._buckets) > MAX_BUCKETS:
            self._coarsen()

    def quantile(self, share: float) -> float:
        """The value that `share` of all values lie at or below. Raises ValueError where there is none."""
        if not self.count:
            raise ValueError("no values")
        wanted, seen = max(1, math.ceil(share * self.count)), 0
        for value, count in sorted(self._buckets.items()):
            seen += count
            if seen >= wanted:
                return min(self.most, max(self.least, value))
        raise AssertionError("a bucket was lost")

    def histogram(self) -> list[int]:
        """How many values lie in each of BINS equal parts from the least to the most; one part where all are equal."""
        width = self.most - self.least
        if not self.count or width <= 0 or not math.isfinite(width):
            return [self.count]
        bins = [0] * BINS
        for value, count in self._buckets.items():
            share = (min(self.most, max(self.least, value)) - self.least) / width
            bins[min(BINS - 1, int(share * BINS))] += count
        return bins

    def _coarsen(self) -> None:
        while len(self._buckets) > MAX_BUCKETS and self._digits > 1:
            self._digits -= 1
            finer, self._buckets = self._buckets, Counter()
            for kept, count in finer.items():
                self._buckets[self._rounded(kept)] += count

    def _rounded(self, value: float) -> float:
        return float(f"{value:.{self._digits}g}")


@dataclass(slots=True)
class ScoreStatistics:
    """One score of one stage's dead letters. `bounds` are those that the last one was held to."""

    bounds: Bounds
    spread: Spread = field(default_factory=Spread)
    too_low: int = 0
    too_high: int = 0

    def add(self, score: Score) -> None:
        self.bounds = score.bounds
        self.spread.add(score.value)
        self.too_low += score.too_low
        self.too_high += score.too_high

    def to_json(self) -> dict[str, Any]:
        spread = self.spread
        return {
            "count": spread.count,
            "too_low": self.too_low,
            "too_high": self.too_high,
            **self.bounds.model_dump(mode="json"),
            "min": spread.least,
            "max": spread.most,
            "quantiles": {f"{share:g}": spread.quantile(share) for share in QUANTILES},
            "histogram": spread.histogram(),
        }


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """What is counted together. A dead letter whose headers are broken has the kind `unreadable`."""

    stage: str
    kind: str
    reason: str
    error_class: str


class Statistics:
    """Counts dead letters as they come."""

    def __init__(self) -> None:
        self.groups: Counter[Group] = Counter()
        self.scores: dict[tuple[str, str], ScoreStatistics] = {}

    def add(self, found: FoundLetter) -> None:
        group = _group(found)
        if group not in self.groups and len(self.groups) >= MAX_GROUPS:
            group = Group(found.stage, group.kind, OTHERS, "")
        self.groups[group] += 1
        for name, score in found.letter.scores.items() if found.letter else ():
            key = (found.stage, name)
            known = self.scores.get(key)
            if known is None:
                if len(self.scores) >= MAX_GROUPS:
                    continue
                known = self.scores[key] = ScoreStatistics(score.bounds)
            known.add(score)

    @property
    def count(self) -> int:
        return self.groups.total()

    def counts(self) -> Sequence[tuple[Group, int]]:
        """The most frequent first, stage by stage as they first came."""
        stages: Mapping[str, int] = {
            stage: place for place, stage in enumerate(dict.fromkeys(group.stage for group in self.groups))
        }
        return sorted(self.groups.items(), key=lambda item: (stages[item[0].stage], -item[1], item[0]))

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "groups": [
                {
                    "stage": group.stage,
                    "kind": group.kind,
                    "reason": group.reason,
                    "error_class": group.error_class or None,
                    "count": count,
                }
                for group, count in self.counts()
            ],
            "scores": [
                {"stage": stage, "score": name, **statistics.to_json()}
                for (stage, name), statistics in self.scores.items()
            ],
        }


def _group(found: FoundLetter) -> Group:
    letter = found.letter
    if letter is None:
        return Group(found.stage, "unreadable", "", "")
    return Group(found.stage, str(letter.kind), letter.reason, letter.error.class_name if letter.error else "")
