"""What all sketch models share: their identity, their randomness, their artificial slowness and their mistakes."""

import hashlib
import time
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from common.models.sketch.truth import Defect
from schemas.trail import ModelId

REVISION = "1"
"""Of the sketch world: raised whenever the same request gives another reply than before."""


class SketchModel:
    """A model of the sketch world. With `delay_s` every call takes that many seconds longer, as a real model would."""

    role: ClassVar[str]

    def __init__(self, *, delay_s: float = 0.0) -> None:
        if not 0 <= delay_s < float("inf"):
            raise ValueError(f"option `delay_s`: found {delay_s}, expected seconds of at least 0")
        self._delay_s = delay_s
        self.identity = ModelId(role=self.role, id="sketch", revision=REVISION)

    def _wait(self) -> None:
        if self._delay_s:
            time.sleep(self._delay_s)


def randomness(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each seed and purpose, so that a draw added for one purpose moves no other."""
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16])))


class DefectRates:
    """How often each mistake is made; at most one at a time."""

    def __init__(self, rates: Mapping[Defect, float]) -> None:
        for defect, rate in rates.items():
            if not 0 <= rate <= 1:
                raise ValueError(f"option `{defect}_rate`: found {rate}, expected a rate in [0, 1]")
        if sum(rates.values()) > 1:
            raise ValueError(f"options {', '.join(f'`{defect}_rate`' for defect in rates)}: found a sum above 1")
        self._rates = rates

    def draw(self, rng: np.random.Generator) -> Defect | None:
        """A mistake to make, or none. Takes one number from the generator."""
        left = float(rng.random())
        for defect, rate in self._rates.items():
            left -= rate
            if left < 0:
                return defect
        return None
