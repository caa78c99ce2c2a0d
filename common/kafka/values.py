"""What everything else speaks in place of the client's own types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BATCH_OVERHEAD_BYTES = 128
"""More than the 61 bytes of a batch and the at most 36 of a record around key, value and headers (format version 2)."""
VARINT_BYTES = 5


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a topic, by its full name."""

    topic: str
    index: int


@dataclass(frozen=True, slots=True)
class Share:
    """Every `of`-th partition of each topic, beginning with number `index`: as it stands, all of them."""

    index: int = 0
    of: int = 1

    def __contains__(self, partition: Partition) -> bool:
        return partition.index % self.of == self.index


EVERYTHING = Share()


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """A record as it lies in the log. `timestamp` is in seconds since the epoch."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: float

    @property
    def place(self) -> str:
        """For people: `topic/partition/offset`."""
        return f"{self.partition.topic}/{self.partition.index}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition, in order."""

    partition: Partition
    records: Sequence[ConsumedRecord]


@dataclass(frozen=True, slots=True)
class Message:
    """A record to write. Without `partition` the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    partition: int | None = None

    @property
    def size(self) -> int:
        """At least the bytes that the record takes, alone in its batch: what `max.message.bytes` is compared with."""
        headers = sum(len(name.encode()) + len(value) + 2 * VARINT_BYTES for name, value in self.headers)
        return BATCH_OVERHEAD_BYTES + len(self.key or b"") + len(self.value or b"") + headers


@dataclass(frozen=True, slots=True)
class Committed:
    """A group's offset of a partition, with the metadata string that was committed with it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Membership:
    """A consumer's standing in its group at one moment; `lost` means that no transaction may carry it.

    An evicted member's metadata is (generation -1, no member id), and a broker accepts that in a transaction: it would
    rewind the new owner's offsets (kafka.md, top).
    """

    generation: int
    member_id: str
    stable: bool
    client_metadata: Any

    @property
    def lost(self) -> bool:
        return self.generation < 0 or not self.member_id or not self.stable
