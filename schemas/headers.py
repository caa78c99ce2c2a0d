"""The headers of every record that a worker writes. Values are UTF-8."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SCHEMA = "schema"
SOURCE = "source"
OUTCOME = "outcome"
WORKER = "worker"
TRACEPARENT = "traceparent"

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class SourceCoordinates:
    """Where an input lies: one input is traceable to its outcome by these."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "SourceCoordinates":
        topic, partition, offset = text.rsplit("/", 2)
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class OutcomePart:
    """The `index`-th of the `count` records of one outcome, so that a partial outcome would show."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "OutcomePart":
        index, count = text.split("/")
        return cls(int(index), int(count))


def text_header(headers: Iterable[tuple[str, bytes | None]], name: str) -> str | None:
    """The last value of a header as text, or None where it is absent or not UTF-8."""
    found: str | None = None
    for key, value in headers:
        if key == name and value is not None:
            try:
                found = value.decode()
            except UnicodeDecodeError:
                found = None
    return found
