"""`captions`: what people give us."""

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from schemas.base import Count
from schemas.ids import MAX_SOURCE_LENGTH
from schemas.record import Record, Text


class Caption(Record):
    """A sentence about a picture. `source` and `position` say where it was read; `id` equals `caption_id`."""

    topic: ClassVar[str] = "captions"
    version: ClassVar[int] = 1

    caption: Text
    source: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SOURCE_LENGTH)]
    position: Count
