"""Rows in batches whose key-value cache fits."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

RowT = TypeVar("RowT")


def bounded(rows: Iterable[RowT], tokens_of: Callable[[Sequence[RowT]], int], limit: int) -> Iterator[list[RowT]]:
    """Neighbouring rows, as many as fit: `tokens_of` a batch, padding counted, is at most `limit`.

    A row that is larger alone makes a batch alone: there is no smaller one. Rows are taken one at a time, so that at
    most one row lies ready beside a batch that runs.
    """
    batch: list[RowT] = []
    for row in rows:
        if batch and tokens_of([*batch, row]) > limit:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
