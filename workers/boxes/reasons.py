"""Why a pair has no difference box, and why a candidate box was dropped."""

from enum import StrEnum


class BoxesReason(StrEnum):
    """The closed set of reject reasons of `boxes`, in the order in which they are looked for."""

    NO_OBJECT_WORDS = "no_object_words"
    """The captions do not differ in the nouns that the object rule needs."""
    PAIR_TOO_DIFFERENT = "pair_too_different"
    """The cosine of the two pictures lies below `pair_similarity`: more has changed than the object."""
    PAIR_TOO_SIMILAR = "pair_too_similar"
    """The cosine of the two pictures lies above `pair_similarity`: the edit barely shows."""
    NO_SEGMENTS = "no_segments"
    """The segmenter found nothing in either picture."""
    CROPS_TOO_SIMILAR = "crops_too_similar"
    """The cosine of the two crops lies above `crop_similarity`: nothing differs in this place."""
    CROPS_TOO_DIFFERENT = "crops_too_different"
    """The cosine of the two crops lies below `crop_similarity`, which has no lower side by default."""
    OBJECT_MISMATCH = "object_mismatch"
    """The crops do not show what the captions say: the score misses `object_match`."""
    OVERLAPS = "overlaps"
    """A box that differs more covers the same place; a candidate's reason, never a pair's."""
    BOX_TOO_SMALL = "box_too_small"
    """The box covers less of the picture than `area_share` asks for."""
    BOX_TOO_LARGE = "box_too_large"
    """The box covers more of the picture than `area_share` allows."""
    BEYOND_CAP = "beyond_cap"
    """The pair has boxes enough (`max_boxes`, `max_boxes_before_area`); a candidate's reason, never a pair's."""
