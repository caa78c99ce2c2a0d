"""`region-captions`: one region described in both pictures."""

from typing import ClassVar

from schemas.boxes import DifferenceBox
from schemas.record import Text


class RegionCaption(DifferenceBox):
    """A region with what it shows in the first and in the second picture."""

    topic: ClassVar[str] = "region-captions"
    version: ClassVar[int] = 1

    first_description: Text
    second_description: Text
