"""A candidate box on its way through the filters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas.dead_letters import MAX_CANDIDATES
from schemas.geometry import Box
from schemas.scores import Score, Scores
from schemas.trail import Candidate
from workers.boxes.reasons import BoxesReason

_PROGRESS = {
    BoxesReason.CROPS_TOO_DIFFERENT: 0,
    BoxesReason.CROPS_TOO_SIMILAR: 0,
    BoxesReason.OBJECT_MISMATCH: 1,
    BoxesReason.OVERLAPS: 2,
    BoxesReason.BEYOND_CAP: 3,
    BoxesReason.BOX_TOO_SMALL: 4,
    BoxesReason.BOX_TOO_LARGE: 4,
}
"""How far a candidate had got, at the least, when it was dropped for a reason."""


@dataclass(slots=True)
class CandidateBox:
    """The `index`-th segment of one picture, what was measured of it, and why it was dropped, if it was."""

    found_in: Literal["first", "second"]
    index: int
    box: Box
    scores: Scores = field(default_factory=dict)
    reason: BoxesReason | None = None

    @property
    def label(self) -> str:
        return f"{self.found_in}:{self.index}"

    def judge(self, name: str, score: Score, too_low: BoxesReason, too_high: BoxesReason) -> None:
        """Keep a score under its name, and drop the candidate where it lies outside its bounds."""
        self.scores[name] = score
        if not score.passes:
            self.reason = too_low if score.too_low else too_high


def nearest_first(dropped: Sequence[CandidateBox]) -> list[CandidateBox]:
    """Dropped candidates, those that got furthest first; where equal, the most different ones first."""
    return sorted(dropped, key=_distance)


def as_candidates(dropped: Sequence[CandidateBox]) -> list[Candidate]:
    """For the trail or the dead letter: at most as many as one holds, those that came nearest to passing."""
    return [
        Candidate(label=box.label, reason=box.reason, scores=box.scores)
        for box in nearest_first(dropped)[:MAX_CANDIDATES]
        if box.reason is not None
    ]


def _distance(box: CandidateBox) -> tuple[int, float, float]:
    progress = 0 if box.reason is None else _PROGRESS[box.reason]
    match = box.scores.get("object_match")
    return -progress, -match.value if match else 0.0, box.scores["crop_similarity"].value
