"""Ids and seeds. Both are pure functions of where a record comes from, so a redo gives the same ones."""

import hashlib

MAX_ID_LENGTH = 320
"""Longest id in characters: a caption id joins a source name (128) with the id given in that source (128)."""

MAX_SOURCE_LENGTH = 128
MAX_GIVEN_ID_LENGTH = 128


def record_id(stage: str, parent_id: str, index: int) -> str:
    """The id of the `index`-th record that `stage` makes from the record `parent_id`: 32 hex digits."""
    return _digest(stage, parent_id, str(index), size=16).hex()


def seed_of(record_id: str, purpose: str) -> int:
    """A seed in [0, 2**63) for one random choice about one record; another purpose gives an independent seed."""
    return int.from_bytes(_digest("seed", record_id, purpose, size=8)) >> 1


def caption_id(source: str, position: int, given_id: str | None) -> str:
    """The id of a caption: the id given within its source, else its position in the source.

    `#` marks a position, so that a given id `17` and the seventeenth line never collide.
    """
    return f"{source}:{given_id}" if given_id is not None else f"{source}:#{position}"


def _digest(*parts: str, size: int) -> bytes:
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4) + encoded)
    return digest.digest()
