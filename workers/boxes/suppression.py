"""Greedy suppression of boxes that overlap."""

from collections.abc import Sequence

from schemas.geometry import Box
from schemas.scores import Bounds
from workers.boxes.candidates import CandidateBox
from workers.boxes.reasons import BoxesReason


def suppress(candidates: Sequence[CandidateBox], overlap: Bounds, *, adds_pixel: bool) -> list[CandidateBox]:
    """The candidates, in order, that do not overlap one kept before them by more than `overlap` allows.

    The others get their reason. Each that had something to overlap gets its score.
    """
    kept: list[CandidateBox] = []
    for candidate in candidates:
        if kept:
            score = overlap.measure(max(_iou(candidate.box, other.box, adds_pixel=adds_pixel) for other in kept))
            candidate.scores["overlap"] = score
            if score.too_high:
                candidate.reason = BoxesReason.OVERLAPS
                continue
        kept.append(candidate)
    return kept


def _iou(first: Box, second: Box, *, adds_pixel: bool) -> float:
    return _grown_by_edge(first).iou(_grown_by_edge(second)) if adds_pixel else first.iou(second)


def _grown_by_edge(box: Box) -> Box:
    """The box with its right and bottom edge inside it, on a canvas that has room for that."""
    return box.model_copy(update={"x1": box.x1 + 1, "y1": box.y1 + 1, "width": box.width + 1, "height": box.height + 1})
