"""`edits`: a caption and the same caption with one object replaced."""

from typing import ClassVar

from schemas.record import Record, Text


class Edit(Record):
    """A caption pair that differs in one object."""

    topic: ClassVar[str] = "edits"
    version: ClassVar[int] = 1

    caption: Text
    edited_caption: Text
