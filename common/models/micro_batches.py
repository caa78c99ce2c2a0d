"""A call's items in parts that fit the device."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


def micro_batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, `size` at a time; the last part may be smaller."""
    return (items[start : start + size] for start in range(0, len(items), size))


def trial_size(size: int, device: torch.device) -> int:
    """How many items to warm up with. On a GPU a full micro-batch: one that does not fit is found out before the first
    record. On a CPU one item, since a full micro-batch of a large model takes minutes there and tells nothing."""
    return size if device.type == "cuda" else 1
