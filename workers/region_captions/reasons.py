"""Why a box does not become a region caption."""

from enum import StrEnum


class RegionCaptionsReason(StrEnum):
    """The closed set of reject reasons of `region-captions`, in the order in which they are looked for."""

    BOX_TOO_SMALL = "box_too_small"
    BOX_TOO_LARGE = "box_too_large"
    EMPTY_DESCRIPTION = "empty_description"
    DESCRIPTION_TOO_LONG = "description_too_long"
    """A description is longer than a record holds."""
    TEXT_MISMATCH = "text_mismatch"
    """A description does not match what its picture shows in the box."""
    TEXTS_TOO_SIMILAR = "texts_too_similar"
    TEXTS_TOO_DIFFERENT = "texts_too_different"
