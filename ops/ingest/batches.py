"""Batches of items: as many as fit into one transaction, or as many as came within a time."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from ops.ingest.items import AnyItem

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bounds the memory of a batch and of the producer, however long the items are."""


def batches(
    items: Iterable[AnyItem | None],
    size: int,
    wait_s: float,
    stopping: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Sequence[AnyItem]]:
    """The items in order, in batches that are never empty.

    None among the items means that there is nothing new for the moment, so that time is looked at. Once `stopping` says
    so, what has been gathered is the last batch.
    """
    batch: list[AnyItem] = []
    gathered = 0
    since = clock()
    for item in items:
        if item is not None:
            if not batch:
                since = clock()
            batch.append(item)
            gathered += len(item.original)
        stop = stopping()
        late = clock() - since >= wait_s
        if batch and (stop or late or len(batch) >= size or gathered >= MAX_BATCH_BYTES):
            yield batch
            batch = []
            gathered = 0
        if stop:
            return
    if batch:
        yield batch
