"""Dead letters counted, and their scores as quantiles and histograms, in memory that does not grow with their number."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from common.kafka import Share
from common.settings import CommonSettings
from ops.dead_letters.filters import STAGES, Filter
from ops.dead_letters.reading import FoundLetter, find_letters
from ops.dead_letters.sharing import of_shares
from schemas.scores import Bounds, Score
from schemas.topics import Names

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

    def merge(self, other: "Spread") -> None:
        """Take in what another one has counted."""
        self.count += other.count
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)
        self._digits = min(self._digits, other._digits)
        self._round_again(self._buckets + other._buckets)
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
            self._round_again(self._buckets)

    def _round_again(self, finer: Counter[float]) -> None:
        self._buckets = Counter()
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

    def merge(self, other: "ScoreStatistics") -> None:
        """Take in what another one has counted, after this one."""
        self.bounds = other.bounds
        self.spread.merge(other.spread)
        self.too_low += other.too_low
        self.too_high += other.too_high

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
        self._count(_group(found), 1)
        for name, score in found.letter.scores.items() if found.letter else ():
            key = (found.stage, name)
            known = self.scores.get(key)
            if known is None:
                if len(self.scores) >= MAX_GROUPS:
                    continue
                known = self.scores[key] = ScoreStatistics(score.bounds)
            known.add(score)

    def merge(self, other: "Statistics") -> None:
        """Take in what another one has counted, after this one."""
        for group, count in other.groups.items():
            self._count(group, count)
        for key, theirs in other.scores.items():
            if key in self.scores:
                self.scores[key].merge(theirs)
            elif len(self.scores) < MAX_GROUPS:
                self.scores[key] = theirs

    def _count(self, group: Group, count: int) -> None:
        if group not in self.groups and len(self.groups) >= MAX_GROUPS:
            group = Group(group.stage, group.kind, OTHERS, "")
        self.groups[group] += count

    @property
    def count(self) -> int:
        return self.groups.total()

    def counts(self) -> Sequence[tuple[Group, int]]:
        """The most frequent first, stage by stage in the order of the stream."""
        return sorted(self.groups.items(), key=lambda item: (STAGES.index(item[0].stage), -item[1], item[0]))

    def spreads(self) -> Sequence[tuple[str, str, ScoreStatistics]]:
        """Stage, name and statistics of each score, stage by stage in the order of the stream."""
        found = [(stage, name, each) for (stage, name), each in self.scores.items()]
        return sorted(found, key=lambda item: STAGES.index(item[0]))

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
                {"stage": stage, "score": name, **statistics.to_json()} for stage, name, statistics in self.spreads()
            ],
        }


def statistics_of(common: CommonSettings, wanted: Filter) -> Statistics:
    """Of the wanted dead letters. Raises ConfigurationError when a topic does not exist."""
    names = Names(common.prefix)
    topics = [names.topic(topic) for topic in wanted.topics()]
    whole = Statistics()
    for part in of_shares(common, topics, partial(_of_share, common, wanted)):
        whole.merge(part)
    return whole


def _of_share(common: CommonSettings, wanted: Filter, share: Share) -> Statistics:
    counted = Statistics()
    for found in find_letters(common, wanted, with_candidates=False, share=share):
        counted.add(found)
    return counted


def _group(found: FoundLetter) -> Group:
    letter = found.letter
    if letter is None:
        return Group(found.stage, "unreadable", "", "")
    return Group(found.stage, str(letter.kind), letter.reason, letter.error.class_name if letter.error else "")
