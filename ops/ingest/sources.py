"""What is to be ingested, and under which name it is remembered.

A file is its content: whatever it is called and wherever it lies, the same bytes read the same way are the same source.
Standard input has no content to go by beforehand, so it needs a name to be resumed.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ops.ingest.readers import Reader, Reading, StandardInputReader, WrongFileError, format_of, open_file

DIGEST_HEX = 16
"""64 bits tell the files of one stream apart."""

STANDARD_INPUT = Path("-")
"""How people write standard input on a command line."""

NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
"""What --source may be: leaves room in an id, and no sign that ids are joined with."""


@dataclass(frozen=True, slots=True)
class _State:
    """What changes when a file's content does."""

    device: int
    inode: int
    size: int
    modified_ns: int


class Source:
    """A readable source. `id` is what its captions' ids and its progress begin with.

    `fixed` says that the id stands for this very content, so that a source once read to its end has nothing more to give.
    """

    def __init__(self, source_id: str, name: str, reader: Reader, path: Path | None, *, fixed: bool) -> None:
        self.id = source_id
        self.name = name
        self.reader = reader
        self.fixed = fixed
        self._path = path
        self._state = None if path is None else _state_of(path)

    def check_unchanged(self) -> None:
        """Raises WrongFileError when the file is being written to while it is read."""
        if self._path is not None and _state_of(self._path) != self._state:
            raise WrongFileError(
                f"{self._path}: changed while it was read, expected a finished file; "
                "run the command again when nothing writes to it any more"
            )


def check_name(name: str) -> None:
    """Raises WrongFileError for a --source that can not be one."""
    if not NAME_PATTERN.match(name):
        raise WrongFileError(f"--source: found {name!r}, expected 1 to 100 of A-Z a-z 0-9 . _ -")


def open_source(path: Path, reading: Reading, name: str | None = None, *, descriptor: int = 0) -> Source:
    """The source at `path` (`-`: standard input, from `descriptor`), checked. Raises WrongFileError."""
    if name is not None:
        check_name(name)
    if path == STANDARD_INPUT:
        reader: Reader = StandardInputReader(descriptor, reading)
        return Source(name or f"stdin-{uuid4().hex[:DIGEST_HEX]}", "standard input", reader, None, fixed=False)
    before = _state_of(path)
    reader = open_file(path, reading)
    source_id = name or _identity(path, reading)
    source = Source(source_id, str(path), reader, path, fixed=name is None)
    if _state_of(path) != before:
        raise WrongFileError(f"{path}: changed while it was looked at, expected a finished file")
    return source


def _identity(path: Path, reading: Reading) -> str:
    """The format and the digest of the content; where fields are named, also a digest of these.

    The same bytes read as another format, or from other fields, are other captions at the same positions.
    """
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_HEX]
    identity = f"{format_of(path, reading.format)}-{content}"
    if reading.caption_field is None and reading.id_field is None:
        return identity
    fields = f"{reading.caption_field or ''}\0{reading.id_field or ''}"
    return f"{identity}-{hashlib.sha256(fields.encode()).hexdigest()[:8]}"


def _state_of(path: Path) -> _State:
    try:
        found = os.stat(path)
    except OSError as error:
        raise WrongFileError(f"{path}: {error.strerror}, expected a file to read") from error
    if stat.S_ISDIR(found.st_mode):
        raise WrongFileError(f"{path}: a folder, expected a file to read")
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
