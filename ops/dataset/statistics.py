"""What lies in a dataset, counted from its shards without reading a picture."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.dataset.shards import ShardStore

COUNTED_COLUMNS = (
    "caption_id",
    "question",
    "answer",
    "difference",
    "found_in",
    "first_objects",
    "second_objects",
    "scores",
    "models",
    "width",
    "height",
)
COMMONEST = 50
"""How many values of a column are named."""

BATCH_ROWS = 1_000


class SampleCounter:
    """Counts the samples of a dataset again and again. A shard never changes, so each is opened once."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._shards = ShardStore(url, options)
        self._rows: dict[str, int] = {}

    def __call__(self) -> int:
        """The samples that lie in the dataset now; 0 where there is none. Raises TransientError when it is out of reach."""
        names = self._shards.shards()
        for name in names:
            if name not in self._rows:
                with self._shards.opened(name) as shard:
                    self._rows[name] = shard.metadata.num_rows
        return sum(self._rows[name] for name in names)


def count_samples(url: str, options: Mapping[str, Any] | None = None) -> int:
    """How many samples lie in the dataset at `url`."""
    return SampleCounter(url, options or {})()


@dataclass(slots=True)
class Summary:
    """Count, least, mean and greatest of a number."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    greatest: float = float("-inf")

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)

    def to_json(self) -> dict[str, float | int | None]:
        if not self.count:
            return {"count": 0, "min": None, "mean": None, "max": None}
        return {"count": self.count, "min": self.least, "mean": self.total / self.count, "max": self.greatest}


@dataclass(frozen=True, slots=True)
class ScoreName:
    """A filter's score with the bounds that it was compared with; None is an open side."""

    stage: str
    name: str
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.stage}.{self.name}"


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model that took part in a stage."""

    stage: str
    role: str
    id: str
    revision: str
    variant: str


@dataclass(slots=True)
class Statistics:
    """The counts of one dataset."""

    samples: int = 0
    shards: int = 0
    captions: set[str] = field(default_factory=set)
    questions: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    """Object words, `first -> second`."""
    found_in: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    """Picture sizes, `width x height` in pixels."""
    lengths: dict[str, Summary] = field(default_factory=lambda: {"answer": Summary(), "difference": Summary()})
    """Characters, by column."""
    scores: dict[ScoreName, Summary] = field(default_factory=dict)
    models: set[ModelName] = field(default_factory=set)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row with the columns COUNTED_COLUMNS."""
        self.samples += 1
        self.captions.add(row["caption_id"])
        self.questions[row["question"]] += 1
        self.replaced[f"{' '.join(row['first_objects'])} -> {' '.join(row['second_objects'])}"] += 1
        self.found_in[row["found_in"]] += 1
        self.sizes[f"{row['width']}x{row['height']}"] += 1
        for name, summary in self.lengths.items():
            summary.add(len(row[name]))
        for score in row["scores"]:
            key = ScoreName(score["stage"], score["name"], score["low"], score["high"])
            self.scores.setdefault(key, Summary()).add(score["value"])
        self.models.update(ModelName(**model) for model in row["models"])

    def to_json(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "shards": self.shards,
            "captions": len(self.captions),
            "scores": [
                {"stage": key.stage, "name": key.name, "low": key.low, "high": key.high, **summary.to_json()}
                for key, summary in sorted(self.scores.items(), key=lambda item: repr(item[0]))
            ],
            "lengths": {name: summary.to_json() for name, summary in self.lengths.items()},
            "found_in": dict(self.found_in),
            "sizes": dict(self.sizes.most_common(COMMONEST)),
            "replaced": dict(self.replaced.most_common(COMMONEST)),
            "questions": dict(self.questions.most_common(COMMONEST)),
        }


def statistics_of(shards: ShardStore) -> Statistics:
    """Count a whole dataset, in the memory of one batch of rows and the ids of its captions."""
    statistics = Statistics()
    for name in shards.shards():
        statistics.shards += 1
        for row in _rows(shards, name):
            statistics.add(row)
    return statistics


def _rows(shards: ShardStore, name: str) -> Iterator[dict[str, Any]]:
    with shards.opened(name) as shard:
        for batch in shard.iter_batches(BATCH_ROWS, columns=list(COUNTED_COLUMNS)):
            yield from batch.to_pylist()
