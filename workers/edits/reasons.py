"""Why a caption does not become an edit."""

from enum import StrEnum


class EditsReason(StrEnum):
    """The closed set of reject reasons of `edits`, in the order in which they are looked for."""

    NOTHING_TO_REPLACE = "nothing_to_replace"
    """The model says that the caption has no object that it can replace."""
    EMPTY_REPLY = "empty_reply"
    """Nothing is left of the reply once it is cleaned."""
    CUT_OFF = "cut_off"
    """The model was cut off, mostly at the most tokens that a reply may have: what it said may be half a caption."""
    MARKER_WORD = "marker_word"
    """The reply talks about the replacement (`marker_words`) instead of being the new caption."""
    UNCHANGED = "unchanged"
    """The reply has the words of the caption."""
    CHATTER = "chatter"
    """The reply has more marks such as a colon, an arrow or quotes than the caption and `added_marks` allow: it talks around
    the edited caption, or repeats the caption beside it."""
    TOO_SHORT = "too_short"
    """The edited caption has fewer words than `added_words` allows."""
    TOO_LONG = "too_long"
    """The edited caption has more words than `added_words` allows, or more characters than a record holds."""
    NO_OBJECT_CHANGED = "no_object_changed"
    """Fewer places than `objects_changed` asks for name another object."""
    TOO_MANY_OBJECTS_CHANGED = "too_many_objects_changed"
    """More places than `objects_changed` allows name another object."""
    REPEATED = "repeated"
    """An earlier edit of the same caption says the same; never the reason of a whole caption."""
