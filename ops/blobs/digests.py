"""Very many SHA-256 digests in little memory."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}")

_WIDTH = 32
_MERGED_AT = 200_000
"""How many new digests wait, with their repetitions, before they are sorted into the others."""


class DigestSet:
    """A set of SHA-256 digests: 32 bytes for each, twice that while new ones are merged in."""

    def __init__(self) -> None:
        self._sorted: NDArray[np.bytes_] = np.empty(0, f"S{_WIDTH}")
        self._new = bytearray()

    def __len__(self) -> int:
        self._merge()
        return len(self._sorted)

    def add_all_in(self, data: bytes) -> None:
        """Add every digest in hex that stands anywhere in these bytes.

        Records are not decoded for it: what a newer version refers to, or one that is broken, counts as well.
        """
        for digest in _DIGEST.findall(data):
            self._new += bytes.fromhex(digest.decode())
        if len(self._new) >= _MERGED_AT * _WIDTH:
            self._merge()

    def holds(self, digests: Sequence[str]) -> list[bool]:
        """For each of these, in hex, whether it is in the set."""
        self._merge()
        if not len(self._sorted) or not digests:
            return [False] * len(digests)
        wanted = np.frombuffer(bytes.fromhex("".join(digests)), f"S{_WIDTH}")
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return list((self._sorted[places] == wanted).tolist())

    def _merge(self) -> None:
        if self._new:
            new = np.frombuffer(bytes(self._new), f"S{_WIDTH}")
            # Two runs in order are merged by the stable sort in one pass.
            both = np.sort(np.concatenate([self._sorted, np.sort(new)]), kind="stable")
            self._sorted = both[np.concatenate([[True], both[1:] != both[:-1]])]
            self._new.clear()
