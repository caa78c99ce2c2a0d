"""Settings of `edits`."""

from pydantic import Field

from common.settings import StageSettings
from schemas.scores import Bounds


class EditsSettings(StageSettings):
    """What an edit has to be. Bounds other than the marker words are ours: the publications check nothing else."""

    edits_per_caption: int = Field(default=1, ge=1, le=64)
    """How many edits to ask for. Each has a seed of its own; those that say the same count once."""
    marker_words: tuple[str, ...] = ("replac", "modified", "become")
    """Parts of words, lower-case, that give away a reply that talks about itself (papers.md 1.2, authors' code)."""
    added_marks: Bounds = Bounds(high=0, high_inclusive=True)
    """How many marks, such as `:`, `"`, `!` or `→`, the edited caption has that the caption has not."""
    added_words: Bounds = Bounds(low=-8, high=8, low_inclusive=True, high_inclusive=True)
    """How many words longer than the caption the edited caption is."""
    objects_changed: Bounds = Bounds(low=1, high=1, low_inclusive=True, high_inclusive=True)
    """How many places of the caption name another object (`common.words.object_changes`)."""
