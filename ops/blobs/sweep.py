"""Deleting pictures that nobody refers to, while workers go on storing others, or the same ones again."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from uuid import uuid4

from common.blobs import IMAGES, SWEEP_LEASE_S, SWEEPING, picture_path, sweeps_at_work
from common.runtime.errors import TransientError
from common.storage import Storage, StoredFile
from ops.blobs.digests import DigestSet
from ops.blobs.references import Stopping

DELETERS = 8
"""Files that are deleted at once: in an object store each takes two requests."""

_GROUP = re.compile(r"[0-9a-f]{2}\Z")
"""What digests begin with: the store is swept in as many parts, 256 at most."""

_PICTURE = re.compile(r"[0-9a-f]{64}\Z")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}\Z")
"""What a writer leaves aside that is killed before it gives the file its name."""


@dataclass(slots=True)
class Tally:
    """Files, and the bytes in them."""

    files: int = 0
    bytes: int = 0

    def add(self, file: StoredFile) -> None:
        self.files += 1
        self.bytes += file.size


@dataclass(slots=True)
class Swept:
    """What became of the files: `stored` is all of them, `young` those that are kept for their age alone."""

    stored: Tally = field(default_factory=Tally)
    referenced: Tally = field(default_factory=Tally)
    young: Tally = field(default_factory=Tally)
    removed: Tally = field(default_factory=Tally)


def sweep_files(storage: Storage, files: Sequence[StoredFile], cutoff: float, *, dry_run: bool) -> Swept:
    """Delete those of few files that were changed before `cutoff`, seconds since 1970."""
    swept = Swept()
    for file in files:
        swept.stored.add(file)
        _settle(storage, file, cutoff, swept, dry_run=dry_run)
    return swept


class PictureSweep:
    """Deletes pictures that are not in `needed` and were changed before `cutoff`, seconds since 1970.

    Raises TransientError when the store can not be reached, or another sweep is at work in it: of two, one could delete
    what a writer has stored anew after the other took the old one away.
    """

    def __init__(
        self, storage: Storage, needed: DigestSet, cutoff: float, *, dry_run: bool, stopping: Stopping
    ) -> None:
        self._storage = storage
        self._needed = needed
        self._cutoff = cutoff
        self._dry_run = dry_run
        self._stopping = stopping
        self.swept = Swept()

    def run(self, report: Callable[[str], None]) -> None:
        """Sweep all parts of the store, until told to stop."""
        if not self._dry_run:
            self._storage.create_folder(SWEEPING)
        groups = [name for name in self._storage.folders(IMAGES) if _GROUP.match(name)]
        for number, group in enumerate(groups, 1):
            if self._stopping():
                return
            condemned = self._condemned(group)
            if self._dry_run:
                for file in condemned:
                    self.swept.removed.add(file)
            elif condemned:
                self._delete(group, condemned)
            report(f"{number} of {len(groups)} parts of the store swept, {self.swept.removed.files:,} pictures removed")

    def _condemned(self, group: str) -> list[StoredFile]:
        old = []
        for file in self._storage.files(f"{IMAGES}/{group}"):
            if not _is_ours(file):
                continue
            self.swept.stored.add(file)
            if file.modified >= self._cutoff:
                self.swept.young.add(file)
            else:
                old.append(file)
        pictures = [file for file in old if _PICTURE.match(_name(file))]
        unfinished = [file for file in old if not _PICTURE.match(_name(file))]
        condemned = []
        for file, is_needed in zip(pictures, self._needed.holds([_name(file) for file in pictures]), strict=True):
            if is_needed:
                self.swept.referenced.add(file)
            else:
                condemned.append(file)
        return condemned + unfinished

    def _delete(self, group: str, files: Sequence[StoredFile]) -> None:
        counting = threading.Lock()
        with self._lease(group) as keep_alive, ThreadPoolExecutor(DELETERS, thread_name_prefix="sweep") as pool:

            def delete(file: StoredFile) -> None:
                if self._stopping():
                    return
                keep_alive()
                one = Swept()
                _settle(self._storage, file, self._cutoff, one, dry_run=False)
                with counting:
                    for total, found in ((self.swept.removed, one.removed), (self.swept.young, one.young)):
                        total.files += found.files
                        total.bytes += found.bytes

            for deleted in [pool.submit(delete, file) for file in files]:
                deleted.result()

    @contextmanager
    def _lease(self, group: str) -> Iterator[Callable[[], None]]:
        """Say that this sweep is at work in a part; the function has to be called before each look at a file.

        When the block fails, a request to delete may still be on its way: the word stands until it runs out.
        """
        token = uuid4().hex
        path = f"{SWEEPING}/{group}/{token}"
        renewing = threading.Lock()
        said_at = time.monotonic()
        self._storage.write(path, b"")
        others = [name for name in sweeps_at_work(self._storage, group) if name != token]
        if others:
            self._storage.delete(path)
            raise TransientError(
                f"{self._storage.url}: another `imgdiff blobs gc` is at work, or one was broken off less than "
                f"{SWEEP_LEASE_S / 60:.0f} minutes ago: try again later"
            )

        def keep_alive() -> None:
            nonlocal said_at
            with renewing:
                if time.monotonic() - said_at > SWEEP_LEASE_S / 3:
                    said_at = time.monotonic()
                    self._storage.write(path, b"")

        yield keep_alive
        self._storage.delete(path)


def _settle(storage: Storage, file: StoredFile, cutoff: float, swept: Swept, *, dry_run: bool) -> None:
    """Look again, right before: the file may have been stored again since it was listed."""
    found = storage.stat(file.path)
    if found is None:
        return
    if found.modified >= cutoff:
        swept.young.add(found)
        return
    if not dry_run:
        try:
            storage.delete(file.path)
        except FileNotFoundError:
            return
    swept.removed.add(found)


def _is_ours(file: StoredFile) -> bool:
    """Whether this is a picture in its place, or what a writer left beside it. Nothing else is touched."""
    name = _name(file)
    digest = name if _PICTURE.match(name) else name[1:65] if _UNFINISHED.match(name) else None
    return digest is not None and str(PurePosixPath(file.path).parent) == str(
        PurePosixPath(picture_path(digest)).parent
    )


def _name(file: StoredFile) -> str:
    return PurePosixPath(file.path).name
