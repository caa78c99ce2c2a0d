"""SHA-256 of files, remembered as long as a file stays the same: a restart does not read 26 GB again."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.models.lock import write_json

log = logging.getLogger(__name__)

THREADS = 4
"""Files hashed at once: hashing leaves the interpreter to others, and one thread does not keep up with a fast disk."""

_TOLD_BYTES = 1 << 30
"""From here on somebody may wonder what the process is doing."""


class Digests:
    """The digests of one folder's files. `memory` is a file of its own outside the folder, which may be read-only.

    A file counts as unchanged while its size, its time of modification in nanoseconds and its inode are. Where that is
    not enough, as in a check of what a disk has made of the files, `trusting=False` reads every file again.
    """

    def __init__(self, folder: Path, memory: Path, *, trusting: bool = True) -> None:
        self._folder = folder
        self._memory = memory
        self._known = _read(memory)
        self._trusting = trusting

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Digests by name, in hexadecimal. Raises OSError where a file can not be read."""
        marks = {name: _mark(self._folder / name) for name in names}
        digests = {
            name: self._known[name][mark]
            for name, mark in marks.items()
            if self._trusting and mark in self._known.get(name, {})
        }
        unknown = [name for name in marks if name not in digests]
        size = sum((self._folder / name).stat().st_size for name in unknown)
        if size >= _TOLD_BYTES:
            log.info("%s: reading %.1f GB once, to know its files by their SHA-256", self._folder, size / 1e9)
        with ThreadPoolExecutor(THREADS) as pool:
            digests.update(zip(unknown, pool.map(lambda name: sha256_of(self._folder / name), unknown), strict=True))
        if unknown:
            self._remember({name: {marks[name]: digests[name]} for name in unknown})
        return digests

    def _remember(self, found: Mapping[str, Mapping[str, str]]) -> None:
        self._known = {**self._known, **found}
        try:
            write_json(self._memory, self._known)
        except OSError as error:
            log.warning("%s: %s: the next start reads the files again", self._memory, error.strerror)


def sha256_of(path: Path) -> str:
    """Of a whole file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _read(memory: Path) -> dict[str, Mapping[str, str]]:
    """What is remembered; nothing where that can not be read, for it is only a memory."""
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: marks for name, marks in known.items() if isinstance(marks, dict)} if isinstance(known, dict) else {}
