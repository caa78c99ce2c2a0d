"""Parquet shards on a file system or object store, each row exactly once.

    <url>/pending/<token>.parquet                              written, perhaps not committed
    <url>/data/part-<partition>-<first offset>-<last>.parquet  committed

A shard is written under a token that nobody else has. The transaction that commits its rows' offsets names the token and
the final name; then the shard is moved. Whoever owns the partition next repeats the move that the committed metadata
names, so a crash at any point neither loses nor doubles a row.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from common.runtime.errors import ConfigurationError, TransientError
from common.storage import Storage
from schemas.counters import ShardMark
from workers.dataset.schema import Sample, rows_of, schema

PENDING = "pending"
DATA = "data"
SENTINEL = ".imgdiff-dataset"
"""Written when the folders are made: where it does not read, the place is out of reach, and nothing is lost."""

ROW_GROUP_ROWS = 100
ROW_GROUP_BYTES = 64 * 1024 * 1024
"""The Hugging Face viewer fails on large row groups; 100 rows and 100 MB are safe (peers.md 4.3)."""

_TOKEN = re.compile(r"[0-9a-f]{32}\Z")
_NAME = re.compile(r"part-\d{5,}-\d{12,}-\d{12,}\.parquet\Z")
_COMPARED_BYTES = 1024 * 1024


class ShardLostError(ConfigurationError):
    """A committed shard is neither pending nor in its place: its rows are gone, or somebody took them away."""


class ShardInTheWayError(ConfigurationError):
    """Another shard has the name of a committed one: two streams write to one dataset, or a topic was made anew."""


def shard_name(partition: int, first_offset: int, last_offset: int) -> str:
    """The name of the shard with the rows from these records, both offsets included."""
    return f"part-{partition:05d}-{first_offset:012d}-{last_offset:012d}.parquet"


class ShardStore:
    """The shards of one dataset.

    Raises TransientError when the place can not be reached, written or read.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """Contacts nothing. Raises ConfigurationError for a URL that is no folder and no object store."""
        self._storage = Storage(url, options, "dataset.url")
        self.url = url

    def initialise(self) -> None:
        """Make the folders where there are none yet. For a worker's start.

        Raises ConfigurationError when the place refuses us, or is a bucket that does not exist.
        """
        with self._storage.setting_up():
            if not self.initialised():
                self._storage.create_folder(PENDING)
                self._storage.create_folder(DATA)
                self._storage.create_folder("")
                self._storage.write(SENTINEL, b"A dataset of imgdiff, layout 1.\n")

    def initialised(self) -> bool:
        """Whether there is a dataset."""
        return self._storage.size(SENTINEL) is not None

    def write_pending(self, token: str, samples: Sequence[Sample]) -> None:
        """Write a shard that is on disk when this returns, and counts for nothing until it is committed and moved."""
        path = _pending(token)
        try:
            with self._storage.writing(path) as file:
                write_rows(file, samples)
        except BaseException as error:
            with suppress(FileNotFoundError, TransientError):
                self._storage.delete(path)
            if isinstance(error, FileNotFoundError):
                raise self._gone() from error
            raise

    def finish(self, mark: ShardMark) -> None:
        """Put a committed shard in its place, whoever wrote it. May be repeated, also by several at once.

        Raises ShardLostError and ShardInTheWayError.
        """
        source, target = _pending(mark.token), _data(mark.name)
        pending = self._storage.size(source)
        placed = self._storage.size(target)
        if pending is not None and placed is not None and not self._same(source, target):
            raise ShardInTheWayError(
                f"{self.url}/{target} exists with other rows than the committed shard {self.url}/{source}: another stream "
                "writes to this dataset, or its topics were made anew; give this stream a `dataset.url` of its own"
            )
        if pending is not None:
            with suppress(FileNotFoundError):  # somebody who does the same has been faster, or it is lost: see below
                self._storage.move(source, target)
        if self._storage.size(target) is None:
            if self._storage.size(SENTINEL) is None:
                raise self._gone()
            raise ShardLostError(
                f"the committed shard {mark.name} is neither at {self.url}/{source} nor at {self.url}/{target}: its rows "
                "are lost from the dataset, but their records are in the topic; where you took the shard away yourself, go on "
                "with dataset.accept_missing_shards=true"
            )

    def discard(self, token: str) -> None:
        """Delete a shard of one's own whose transaction did not happen."""
        with suppress(FileNotFoundError):
            self._storage.delete(_pending(token))

    def shards(self) -> list[str]:
        """The names of the shards in their place, sorted."""
        return [name for name in self._storage.names(DATA) if _NAME.match(name)]

    @contextmanager
    def opened(self, name: str) -> Iterator[pq.ParquetFile]:
        """A shard in its place, to read from as far as one wants. Raises ConfigurationError where it turns out to be broken."""
        try:
            with self._storage.reading(_data(name)) as file, pq.ParquetFile(file) as shard:
                yield shard
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{self.url}/{_data(name)}: not a shard of this dataset, or damaged: {error}"
            ) from error

    def _same(self, one: str, other: str) -> bool:
        """Whether two files are equal; a copy that was broken off before its source was deleted is. Absent ones are not
        told apart: who does the same has been faster."""
        if self._storage.size(one) != self._storage.size(other):
            return self._storage.size(one) is None
        try:
            with self._storage.reading(one) as first, self._storage.reading(other) as second:
                while piece := first.read(_COMPARED_BYTES):
                    if piece != second.read(_COMPARED_BYTES):
                        return False
        except FileNotFoundError:
            return True
        return True

    def _gone(self) -> TransientError:
        return TransientError(f"{self.url} (setting `dataset.url`): the dataset is gone: no file `{SENTINEL}` in it")


def write_rows(file: IO[bytes], samples: Sequence[Sample]) -> None:
    """Write samples as Parquet, in row groups that viewers can take. Equal samples give equal bytes."""
    arrow = schema()
    # Encoded pictures do not compress further, and a dictionary of them would be a second copy.
    leaves = [leaf for leaf in _leaves(arrow) if not leaf.endswith(".bytes")]
    with pq.ParquetWriter(
        file,
        arrow,
        compression=dict.fromkeys(leaves, "zstd"),
        use_dictionary=leaves,
        write_statistics=leaves,
        write_page_index=True,
    ) as writer:
        for group in _row_groups(samples):
            writer.write_batch(rows_of(group, arrow))


def _row_groups(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    group: list[Sample] = []
    size = 0
    for sample in samples:
        if group and (len(group) >= ROW_GROUP_ROWS or size + sample.picture_bytes > ROW_GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(sample)
        size += sample.picture_bytes
    if group:
        yield group


def _leaves(arrow: pa.Schema) -> list[str]:
    """The paths of the physical columns, as Parquet names them."""
    return [leaf for field in arrow for leaf in _leaves_of(field.type, field.name)]


def _leaves_of(kind: pa.DataType, path: str) -> list[str]:
    if pa.types.is_list(kind):
        return _leaves_of(kind.value_type, f"{path}.list.element")
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves_of(field.type, f"{path}.{field.name}")]
    return [path]


def _pending(token: str) -> str:
    if not _TOKEN.match(token):
        raise ValueError(f"found the shard token {token[:80]!r}, expected 32 hex digits")
    return f"{PENDING}/{token}.parquet"


def _data(name: str) -> str:
    if not _NAME.match(name):
        raise ValueError(f"found the shard name {name[:80]!r}, expected part-PARTITION-FIRST-LAST.parquet")
    return f"{DATA}/{name}"
