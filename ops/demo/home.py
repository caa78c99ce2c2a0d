"""The demo's folder: made anew by each run, and kept after it."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.runtime.errors import ConfigurationError
from ops.broker import local


@dataclass(frozen=True, slots=True)
class DemoHome:
    """Where everything lies that a run of the demo makes. Kafka's own files are shared with `imgdiff broker`."""

    root: Path
    jars: Path

    @classmethod
    def under(cls, folder: Path = local.HOME) -> "DemoHome":
        return cls(folder.resolve() / "demo", folder.resolve() / "jars")

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def log(self) -> Path:
        return self.root / "workers.log"

    @property
    def sheet(self) -> Path:
        return self.root / "contact-sheet.png"

    @property
    def settings(self) -> Path:
        return self.root / "settings.toml"

    def broker(self) -> local.LocalBroker:
        """The demo's own broker, apart from that of `imgdiff broker`."""
        return local.LocalBroker(self.root, jars=self.jars)

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """Hold the folder, emptied of what an earlier run left in it.

        Raises ConfigurationError when another demo is at work in it, or it can not be written.
        """
        lock = self._opened_lock()
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigurationError(f"another demo runs in {self.root.parent}: one at a time") from error
            try:
                self._empty()
            except OSError as error:
                raise self._unusable(error) from error
            yield

    def _opened_lock(self) -> IO[bytes]:
        path = self.root.with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("ab")
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"demo folder {error.filename or self.root}: {error.strerror or error}")

    def _empty(self) -> None:
        if self.root.exists():
            # A run that was killed may have left its broker running.
            self.broker().stop()
            shutil.rmtree(self.root)
        self.root.mkdir()
