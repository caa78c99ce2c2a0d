"""Why a caption does not become an edit."""

from enum import StrEnum


class EditsReason(StrEnum):
    """The closed set of reject reasons of `edits`, in the order in which they are looked for."""

    NOTHING_TO_REPLACE = "nothing_to_replace"
    """The model says that the caption has no object that it can replace."""
    EMPTY_REPLY = "empty_reply"
    """Nothing is left of the reply once it is cleaned."""
    MARKER_WORD = "marker_word"
    """The reply talks about the replacement instead of being the new caption."""
    UNCHANGED = "unchanged"
    """The reply has the words of the caption."""
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NO_OBJECT_CHANGED = "no_object_changed"
    TOO_MANY_OBJECTS_CHANGED = "too_many_objects_changed"
    REPEATED = "repeated"
    """An earlier edit of the same caption says the same; never the reason of a whole caption."""
