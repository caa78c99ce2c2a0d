"""Connected components of a mask, by runs: numpy finds the runs, a union-find over them joins the rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Component:
    """Pixels that touch each other, also by their corners: extent (right and bottom exclusive) and number."""

    x0: int
    y0: int
    x1: int
    y1: int
    area: int


def components_of(mask: Mask) -> list[Component]:
    """The components of the true pixels, in order of their first pixel, row by row. `mask` has shape (height, width)."""
    starts, ends, rows = _runs(mask)
    if not len(starts):
        return []
    roots = _joined(starts.tolist(), ends.tolist(), rows.tolist())
    order = np.unique(roots, return_inverse=True)[1]
    count = int(order.max()) + 1
    x0, y0 = np.full(count, mask.shape[1]), np.full(count, mask.shape[0])
    x1, y1, area = np.zeros(count, int), np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(x0, order, starts)
    np.maximum.at(x1, order, ends)
    np.minimum.at(y0, order, rows)
    np.maximum.at(y1, order, rows + 1)
    np.add.at(area, order, ends - starts)
    return [Component(*(int(v) for v in values)) for values in zip(x0, y0, x1, y1, area, strict=True)]


def _runs(mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First column, column behind the last, and row of each horizontal run, row by row."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    return starts, ends, rows


def _joined(first: Sequence[int], last: Sequence[int], row: Sequence[int]) -> npt.NDArray[np.int64]:
    """For each run the lowest run that it is connected with."""
    parent = list(range(len(first)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above = 0
    for run in range(len(first)):
        while row[above] < row[run] - 1 or (row[above] == row[run] - 1 and last[above] < first[run]):
            above += 1
        touching = above
        while row[touching] == row[run] - 1 and first[touching] <= last[run]:
            one, other = root(touching), root(run)
            parent[max(one, other)] = min(one, other)
            touching += 1
    return np.array([root(run) for run in range(len(first))])
