"""`qa`: a difference question and its answer."""

from typing import ClassVar

from schemas.images import ImageRef
from schemas.record import Text
from schemas.region_captions import RegionCaption


class DifferenceQa(RegionCaption):
    """A finished sample. `first_marked` and `second_marked` are the pictures with the region in a red box."""

    topic: ClassVar[str] = "qa"
    version: ClassVar[int] = 1

    difference: Text
    question: Text
    answer: Text
    first_marked: ImageRef
    second_marked: ImageRef
