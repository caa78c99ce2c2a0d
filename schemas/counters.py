"""What a consumer group has made of a partition so far; it travels as the metadata of the committed offset.

The totals commit in the transaction that moves the offset, so they are exactly-once, and whoever is assigned the
partition next goes on counting from there.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import Field

from schemas.base import Frozen

MAX_METADATA_BYTES = 4_096
"""`offset.metadata.max.bytes` of the broker: one byte more kills the producer (kafka.md, top)."""


class Counters(Frozen):
    """Running totals of one partition: `consumed` equals `passed` plus all rejected plus all failed."""

    consumed: int = Field(default=0, ge=0)
    passed: int = Field(default=0, ge=0)
    outputs: int = Field(default=0, ge=0)
    rejected: Mapping[str, int] = {}
    failed: Mapping[str, int] = {}

    def __add__(self, other: Self) -> "Counters":
        return Counters(
            consumed=self.consumed + other.consumed,
            passed=self.passed + other.passed,
            outputs=self.outputs + other.outputs,
            rejected=dict(Counter(self.rejected) + Counter(other.rejected)),
            failed=dict(Counter(self.failed) + Counter(other.failed)),
        )

    @classmethod
    def total(cls, parts: Iterable["Counters"]) -> "Counters":
        return sum(parts, start=Counters())

    @property
    def balanced(self) -> bool:
        """Whether every consumed input is accounted for."""
        return self.consumed == self.passed + sum(self.rejected.values()) + sum(self.failed.values())


class ShardMark(Frozen):
    """The sink's last shard of a partition: the token in its pending name, and its final name under `data/`."""

    token: str
    name: str


class OffsetMetadata(Frozen):
    """What stands in the metadata string of a committed offset."""

    counters: Counters = Counters()
    shard: ShardMark | None = None

    def encode(self) -> str:
        """Compact JSON. Raises ValueError above the broker's limit: check it before a transaction begins."""
        fields = self.counters.model_dump(exclude_defaults=True)
        if self.shard is not None:
            fields["shard"] = self.shard.model_dump()
        text = json.dumps(fields, separators=(",", ":"), sort_keys=True)
        if len(text.encode()) > MAX_METADATA_BYTES:
            raise ValueError(
                f"offset metadata of {len(text.encode())} bytes, the broker takes {MAX_METADATA_BYTES}: "
                "a stage has too many reject reasons"
            )
        return text

    @classmethod
    def decode(cls, text: str) -> "OffsetMetadata":
        """The metadata of a committed offset; an empty string is a group that has counted nothing yet.

        Raises ValueError where something else than a worker committed the offset.
        """
        if not text:
            return cls()
        try:
            fields = json.loads(text)
            shard = fields.pop("shard", None) if isinstance(fields, dict) else None
            return cls(counters=Counters.model_validate(fields), shard=shard)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"offset metadata is not a worker's counters: {text[:120]!r}") from error
