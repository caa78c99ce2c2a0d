"""A worker's stable name. A restart under the same name fences its predecessor and keeps its partitions."""

import fcntl
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from common.runtime.errors import ConfigurationError

VARIABLE = "IMGDIFF_INSTANCE"
MAX_INSTANCES = 1_000


class Instance:
    """A name that no other process on this machine has at the same time, held until the process ends.

    In a pod it is the pod's name; else host, digest of the lock folder, and the lowest free number under a file lock.
    """

    def __init__(self, name: str, lock: int | None) -> None:
        self.name = name
        self._lock = lock

    @classmethod
    def claim(cls, environ: Mapping[str, str], folder: Path, group: str) -> "Instance":
        """Raises ConfigurationError when the lock folder can not be used or the given name is not a name."""
        given = environ.get(VARIABLE) or environ.get("POD_NAME")
        if given:
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", given):
                raise ConfigurationError(f"{VARIABLE}: found {given!r}, expected letters, digits, `.`, `_` and `-`")
            return cls(given, None)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(MAX_INSTANCES):
                lock = os.open(folder / f"{group}-{number}.lock", os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(lock)
                    continue
                digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
                host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64]
                return cls(f"{host}-{digest}-{number}", lock)
        except OSError as error:
            raise ConfigurationError(f"lock folder {folder}: {error.strerror}") from error
        raise ConfigurationError(f"lock folder {folder}: more than {MAX_INSTANCES} workers of {group} on this machine")

    def __enter__(self) -> "Instance":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._lock is not None:
            os.close(self._lock)
