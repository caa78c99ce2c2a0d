"""Why a box does not become a region caption."""

from enum import StrEnum


class RegionCaptionsReason(StrEnum):
    """The closed set of reject reasons of `region-captions`, in the order in which they are looked for by default."""

    EMPTY_DESCRIPTION = "empty_description"
    """The model says nothing about one of the two regions."""
    DESCRIPTION_TOO_LONG = "description_too_long"
    """A description is longer than a record holds."""
    TEXT_MISMATCH = "text_mismatch"
    """A description does not match what its picture shows in the box: the score misses `text_match`."""
    TEXTS_TOO_SIMILAR = "texts_too_similar"
    """The cosine of the two descriptions lies above `text_similarity`: they say the same."""
    TEXTS_TOO_DIFFERENT = "texts_too_different"
    """The cosine of the two descriptions lies below `text_similarity`, which has no lower side by default."""
