"""The section `dataset`."""

from typing import Any

from pydantic import Field

from common.settings import StageSettings


class DatasetSettings(StageSettings):
    """Where the shards go, and how large they get: a batch makes one shard per partition that it has rows of."""

    url: str = ".imgdiff/dataset"
    """A folder, or an object store such as s3://bucket/path."""
    options: dict[str, Any] = {}
    """For the file system of fsspec that serves the URL."""
    batch_size: int = Field(default=256, ge=1, le=10_000)
    """The most rows of a shard. The pictures of a batch are held in memory as they are stored."""
    batch_wait_s: float = Field(default=5.0, ge=0)
    """How long a shard that is not full waits for more rows."""
    accept_missing_shards: bool = False
    """Go on where the shard that a partition committed last is not in its place, because it was moved out of the dataset."""
