"""A record's trail: for each stage that it passed, with what and how the stage decided."""

from typing import Any

from schemas.base import Count, Frozen, Positive
from schemas.scores import Scores


class ModelId(Frozen):
    """A model that took part: the role it played (a protocol's name), its id and its revision.

    `variant` says how it was run as far as that shows in the last digits: numbers, quantisation, batch shape.
    """

    role: str
    id: str
    revision: str
    variant: str = ""


class Candidate(Frozen):
    """Something that a stage weighed and dropped inside one input (a box among boxes), with its scores.

    Kept so that thresholds can be tuned again later without running a model.
    """

    label: str
    reason: str
    scores: Scores = {}


class TrailStep(Frozen):
    """One stage's entry.

    `batch_size` is the number of records that were processed together, `seconds` the time of that whole batch.
    `finished_at` is in seconds since the epoch. `dropped` stands on the first record of an outcome only.
    `truth` is what a synthetic model knows to be so about what it made; real models leave it empty, and no stage reads it.
    """

    stage: str
    worker_version: str
    settings_digest: str
    models: tuple[ModelId, ...] = ()
    seed: Count | None = None
    batch_size: Positive = 1
    seconds: float = 0.0
    finished_at: float = 0.0
    scores: Scores = {}
    dropped: tuple[Candidate, ...] = ()
    truth: dict[str, Any] = {}
