"""The section `ingest`."""

from pydantic import Field

from common.settings import Section
from ops.ingest.readers import Format


class IngestSettings(Section):
    """How captions are read and written. Times are in seconds."""

    format: Format | None = None
    """What the files are; without it their suffixes say so."""
    caption_field: str | None = Field(default=None, min_length=1)
    """Field or column of the caption; without it `caption`."""
    id_field: str | None = Field(default=None, min_length=1)
    """Field or column of the id; without it `id`, where there is one."""
    batch_size: int = Field(default=500, ge=1, le=10_000)
    """Items per transaction."""
    batch_wait_s: float = Field(default=1.0, ge=0)
    """How long a batch from standard input that is not full waits for more."""
    watch_interval_s: float = Field(default=1.0, gt=0)
    """How often a watched folder is looked at."""
    watch_settled_s: float = Field(default=5.0, ge=0)
    """How long a file in a watched folder must have been unchanged, unless it was renamed there."""
