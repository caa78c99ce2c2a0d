"""The contract between a stage and the runtime.

A stage is a plain class with its models handed in and one method over a batch. It knows nothing of Kafka and has no side
effects: a batch may be run again, in parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from io import BytesIO
from typing import Any, Generic, Protocol, TypeVar

from PIL import Image

from schemas.record import Record
from schemas.scores import Scores
from schemas.trail import Candidate, ModelId

InT = TypeVar("InT", bound=Record)
OutT = TypeVar("OutT", bound=Record)

FORMATS = ("PNG", "JPEG", "WEBP")
"""What a stored picture may be. Pillow's other decoders are never run on bytes from the store."""


class Picture:
    """A stored picture as its encoded bytes, decoded once when its pixels are first asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @cached_property
    def image(self) -> Image.Image:
        """The pixels, RGB. Raises what Pillow raises on bytes that are none of FORMATS."""
        with Image.open(BytesIO(self.data), formats=FORMATS) as opened:
            return opened.convert("RGB")


@dataclass(frozen=True, slots=True)
class Task(Generic[InT]):
    """One input of a batch: the record, and the pictures that it refers to, by field name."""

    record: InT
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Emit(Generic[OutT]):
    """The input passes on: at least one record for the next topic.

    `images` holds new pictures by name; a record refers to one as `NewImage.named(name)`. `scores` go into the trail of
    every record; `dropped` and `truth` (see TrailStep) as said there. `seed` is the one that the stage drew with.

    Where the records of one input differ in these, `record_scores`, `record_seeds` and `record_truth` run parallel to
    `records`: a record's own scores go over `scores`, its own seed and truth stand in place of `seed` and `truth`.
    """

    records: Sequence[OutT]
    images: Mapping[str, Image.Image] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    dropped: Sequence[Candidate] = ()
    seed: int | None = None
    truth: Mapping[str, Any] = field(default_factory=dict)
    record_scores: Sequence[Scores] = ()
    record_seeds: Sequence[int] = ()
    record_truth: Sequence[Mapping[str, Any]] = ()

    def scores_of(self, index: int) -> Scores:
        """The scores in the trail of the `index`-th record."""
        return {**self.scores, **(self.record_scores[index] if self.record_scores else {})}

    def seed_of(self, index: int) -> int | None:
        """The seed in the trail of the `index`-th record."""
        return self.record_seeds[index] if self.record_seeds else self.seed

    def truth_of(self, index: int) -> Mapping[str, Any]:
        """The truth in the trail of the `index`-th record."""
        return self.record_truth[index] if self.record_truth else self.truth


@dataclass(frozen=True, slots=True)
class Reject:
    """Quality control says no. `reason` is a member of the stage's enum, never free text."""

    reason: StrEnum
    scores: Scores = field(default_factory=dict)
    detail: str = ""
    dropped: Sequence[Candidate] = ()


class Stage(Protocol[InT, OutT]):
    """What a worker does."""

    @property
    def models(self) -> Sequence[ModelId]:
        """The models that take part, for the trail."""
        ...

    def process(self, batch: Sequence[Task[InT]]) -> Sequence[Emit[OutT] | Reject]:
        """One outcome per input, in order. Has no side effects."""
        ...
