"""`boxes`: a region where the two pictures differ."""

from typing import ClassVar, Literal

from schemas.geometry import Box
from schemas.pairs import Pair


class DifferenceBox(Pair):
    """One region of a pair; the same rectangle holds in both pictures.

    `found_in` is the picture whose segmentation gave the box. The object words are the nouns that only one of the two
    captions has.
    """

    topic: ClassVar[str] = "boxes"
    version: ClassVar[int] = 1

    box: Box
    found_in: Literal["first", "second"]
    first_objects: tuple[str, ...]
    second_objects: tuple[str, ...]
