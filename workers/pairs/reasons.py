"""Why an edit does not become an image pair."""

from enum import StrEnum


class PairsReason(StrEnum):
    """The closed set of reject reasons of `pairs`."""

    BLANK_IMAGE = "blank_image"
    """A picture has fewer levels than `grey_levels` asks for, such as the black one of a generator whose numbers
    overflowed."""
