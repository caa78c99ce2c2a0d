"""A watched folder: which of its files are finished."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ops.ingest.readers import WrongFileError

TEMPORARY_SUFFIXES = frozenset({".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".filepart"})
"""Names under which programs write files that they rename when they are done."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How a file was when it was last looked at, and since when it has been like that (seconds of the given clock)."""

    size: int
    modified_ns: int
    since: float


class WatchedFolder:
    """Tells which files in a folder can be read now: those renamed there, and those unchanged for a while.

    Hidden files and names of unfinished files are left out, and so are folders. A file is handed out once for each
    content that it has. Whether a file is unchanged is seen by looking again, not from its own times: the clock of a file
    server may differ from ours.
    """

    def __init__(self, folder: Path, settled_s: float) -> None:
        """Raises WrongFileError where there is no such folder."""
        self._folder = folder
        self._settled_s = settled_s
        self._looks: dict[str, _Look] = {}
        self._handed_out: dict[str, tuple[int, int]] = {}
        self._unfinished: set[tuple[int, int]] = set()
        self._entries()

    def ready(self, now: float) -> list[Path]:
        """The files to be read now, by name; to be asked again and again. Raises WrongFileError when the folder is gone."""
        ready = []
        looks: dict[str, _Look] = {}
        unfinished: set[tuple[int, int]] = set()
        for entry, found in self._entries():
            identity = (found.st_dev, found.st_ino)
            if _unfinished(entry):
                unfinished.add(identity)
                continue
            content = (found.st_size, found.st_mtime_ns)
            before = self._looks.get(entry)
            same = before is not None and (before.size, before.modified_ns) == content
            since = before.since if before is not None and same else now
            looks[entry] = _Look(*content, since)
            renamed = identity in self._unfinished
            if (renamed or now - since >= self._settled_s) and self._handed_out.get(entry) != content:
                self._handed_out[entry] = content
                ready.append(self._folder / entry)
        self._looks = looks
        self._unfinished = unfinished
        return ready

    def _entries(self) -> list[tuple[str, os.stat_result]]:
        try:
            names = sorted(os.listdir(self._folder))
        except OSError as error:
            raise WrongFileError(f"{self._folder}: {error.strerror}, expected a folder to watch") from error
        entries = []
        for name in names:
            try:
                found = os.stat(self._folder / name)
            except OSError:
                continue  # taken away between the two calls
            if stat.S_ISREG(found.st_mode):
                entries.append((name, found))
        return entries


def _unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith("~") or Path(name).suffix.lower() in TEMPORARY_SUFFIXES
