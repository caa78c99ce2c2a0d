"""A score: what a filter measured, and the bounds it was compared with.

Scores and bounds are compared as float32, because the models compute in float32 or less and several published bounds
(0.35, 0.9) lie below their decimal in float32 while others (0.4, 0.85) lie above.
"""

import math
import struct
from functools import lru_cache
from typing import Self

from pydantic import model_validator

from schemas.base import Frozen


@lru_cache(maxsize=4_096)
def float32(value: float) -> float:
    """The nearest float32, as a Python float; infinity for what lies beyond all of them."""
    try:
        packed = struct.pack("f", value)
    except OverflowError:
        return math.copysign(math.inf, value)
    nearest: float = struct.unpack("f", packed)[0]
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
        if self.low is None:
            return False
        found, bound = float32(value), float32(self.low)
        return found < bound or (found == bound and not self.low_inclusive)

    def below(self, value: float) -> bool:
        """Whether the window lies below the value."""
        if self.high is None:
            return False
        found, bound = float32(value), float32(self.high)
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
        return not (self.too_low or self.too_high)


Scores = dict[str, Score]
"""Scores by the name of the filter, which is also the name of its setting."""
