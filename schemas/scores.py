"""A score: what a filter measured, and the bounds it was compared with.

Scores and bounds are compared as float32, because the models compute in float32 or less and several published bounds
(0.35, 0.9) lie below their decimal in float32 while others (0.4, 0.85) lie above.
"""

import math
import struct
from typing import Self

from pydantic import model_validator

from schemas.base import Frozen

_FLOAT32 = struct.Struct("f")


def float32(value: float) -> float:
    """The nearest float32, as a Python float; infinity for what lies beyond all of them."""
    try:
        nearest: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return nearest


class Bounds(Frozen):
    """A window that a score has to lie in. A missing side is open; a side is strict unless it is said to be inclusive."""

    low: float | None = None
    high: float | None = None
    low_inclusive: bool = False
    high_inclusive: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        return self

    def above(self, value: float) -> bool:
        """Whether the window lies above the value."""
        return self._above(float32(value))

    def below(self, value: float) -> bool:
        """Whether the window lies below the value."""
        return self._below(float32(value))

    def holds(self, value: float) -> bool:
        """Whether the value lies in the window."""
        found = float32(value)
        return not (self._above(found) or self._below(found))

    def _above(self, found: float) -> bool:
        if self.low is None:
            return False
        bound = float32(self.low)
        return found < bound or (found == bound and not self.low_inclusive)

    def _below(self, found: float) -> bool:
        if self.high is None:
            return False
        bound = float32(self.high)
        return found > bound or (found == bound and not self.high_inclusive)

    def measure(self, value: float) -> "Score":
        """The score of `value` against these bounds."""
        return Score(value=value, bounds=self)


class Score(Frozen):
    """A measured value with the bounds that it was compared with."""

    value: float
    bounds: Bounds

    @property
    def too_low(self) -> bool:
        """Whether the value lies below the window."""
        return self.bounds.above(self.value)

    @property
    def too_high(self) -> bool:
        """Whether the value lies above the window."""
        return self.bounds.below(self.value)

    @property
    def passes(self) -> bool:
        """Whether the value lies in the window."""
        return self.bounds.holds(self.value)


Scores = dict[str, Score]
"""Scores by the name of the filter, which is also the name of its setting."""
