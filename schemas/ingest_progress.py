"""`ingest-progress`: how far a source has been read, written in the transaction that writes its captions."""

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from schemas.base import Count
from schemas.ids import MAX_SOURCE_LENGTH
from schemas.record import Record


class IngestProgress(Record):
    """The state of one source; the key, the `id` and the `caption_id` are the source.

    `position` is the number of items read so far; `ingested` of them became captions and `failed` could not be read.
    """

    topic: ClassVar[str] = "ingest-progress"
    version: ClassVar[int] = 1

    source: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SOURCE_LENGTH)]
    name: str
    position: Count
    ingested: Count
    failed: Count
    complete: bool
