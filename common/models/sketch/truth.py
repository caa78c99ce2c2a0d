"""What the sketch world knows about what it made. It travels in a record's trail; no stage and no model reads it."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

PixelBox = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, right and bottom edge exclusive."""


class Defect(StrEnum):
    """The mistakes that are made on purpose, and the filter that is there to catch each."""

    UNCHANGED = "unchanged"
    """The caption comes back as it was: the check of the reply."""
    CHATTER = "chatter"
    """The reply speaks about what was replaced: the check of the reply."""
    TWO_OBJECTS = "two_objects"
    """Two objects were replaced instead of one: the check of the reply."""

    FAINT_EDIT = "faint_edit"
    """The edit barely shows: the upper bound of pair similarity."""
    SCENE_CHANGED = "scene_changed"
    """The second picture shows another scene: the lower bound of pair similarity."""
    WRONG_OBJECT = "wrong_object"
    """Neither picture shows what its caption says: object match."""
    DRAWN_TWICE = "drawn_twice"
    """The second picture has the new object once more where the first has nothing: text match, for the extra box."""
    BLANK = "blank"
    """A picture is black all over: the check for unusable pictures."""

    WRONG_DESCRIPTION = "wrong_description"
    """A description names another object: text match."""
    VAGUE_DESCRIPTION = "vague_description"
    """A description names only the kind: text difference."""


@dataclass(frozen=True, slots=True)
class EditTruth:
    """What the editor did: `first` was replaced by `second` (names of concepts), in order of the caption."""

    defect: Defect | None
    first: tuple[str, ...]
    second: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        return _plain(asdict(self))


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """What the generator drew.

    `first` and `second` are the concepts that the captions differ in, in order; None where a caption names nothing known.
    `boxes` are the places of the edited objects, one for each drawn (a plural is drawn twice), covering it in both
    pictures. `extra_boxes` are the places of objects drawn twice. `others` are the things that are the same in both.
    """

    defect: Defect | None
    theme: str
    first: tuple[str | None, ...]
    second: tuple[str | None, ...]
    boxes: tuple[PixelBox, ...]
    extra_boxes: tuple[PixelBox, ...]
    others: tuple[tuple[str, PixelBox], ...]

    def fields(self) -> dict[str, Any]:
        return _plain(asdict(self))


@dataclass(frozen=True, slots=True)
class DescriptionTruth:
    """What a describer did to what it saw. `saw` is the concept that it recognised, if any."""

    defect: Defect | None
    saw: str | None

    def fields(self) -> dict[str, Any]:
        return _plain(asdict(self))


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Lists for tuples and plain texts for enums, as they come back from the wire."""
    return {key: _plain_value(value) for key, value in fields.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain_value(each) for each in value]
    return str(value) if isinstance(value, StrEnum) else value
