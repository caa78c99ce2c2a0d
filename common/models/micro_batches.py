"""A call's items in parts that fit the device."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def micro_batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, `size` at a time; the last part may be smaller."""
    return (items[start : start + size] for start in range(0, len(items), size))
