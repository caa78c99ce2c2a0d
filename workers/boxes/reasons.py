"""Why a pair has no difference box, and why a candidate box was dropped."""

from enum import StrEnum


class BoxesReason(StrEnum):
    """The closed set of reject reasons of `boxes`, in the order in which they are looked for."""

    NO_OBJECT_WORDS = "no_object_words"
    """The captions do not differ in the nouns that the object rule needs."""
    PAIR_TOO_DIFFERENT = "pair_too_different"
    PAIR_TOO_SIMILAR = "pair_too_similar"
    NO_SEGMENTS = "no_segments"
    """The segmenter found nothing in either picture."""
    CROPS_TOO_SIMILAR = "crops_too_similar"
    CROPS_TOO_DIFFERENT = "crops_too_different"
    OBJECT_MISMATCH = "object_mismatch"
    """The crops do not show what the captions say."""
    OVERLAPS = "overlaps"
    """A box that differs more covers the same place; a candidate's reason, never a pair's."""
    BEYOND_CAP = "beyond_cap"
    """The pair has boxes enough; a candidate's reason, never a pair's."""
