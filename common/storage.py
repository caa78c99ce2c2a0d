"""A place for whole files: a local folder or an object store, behind one small interface with typed errors.

Only places whose writes are atomic are taken: a local file system renames, an object store shows an object when its
upload is complete.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import IO, Any, cast
from uuid import uuid4

import fsspec

from common.runtime.errors import ConfigurationError, TransientError

LOCAL = frozenset({"file", "local"})
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
CLIENT_MODULES = frozenset({"botocore", "aiobotocore", "aiohttp", "boto3", "google", "gcsfs", "azure"})
"""Packages whose exceptions are an object store's, although they are no OSError."""

S3 = frozenset({"s3", "s3a"})
S3_CLIENT: Mapping[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
"""What botocore is told where `options` do not say otherwise (`config_kwargs`). Seconds of silence, and tries in all: its own
defaults are 60 s and five, which s3fs takes five times over."""

CALL_DEADLINE_S = 60.0
"""How long one call to an object store may take, its tries included, when it moves few bytes."""

SLOWEST_BYTES_PER_S = 500_000
"""A file may take this much longer than a call."""

REFUSALS = frozenset({"AuthorizationHeaderMalformed", "InvalidToken", "PermanentRedirect", "301"})
"""Codes of S3, beside those that s3fs takes for a PermissionError, that say: not with this key, token or region."""

EMPTY_RANGE = frozenset({"InvalidRange", "416", None})
"""Codes of S3 for a range that lies outside; other stores give none."""

REFUSAL_TYPES = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "NoRegionError", "ProfileNotFound"}
)
"""botocore's own words for: not with these settings."""

MODIFIED = ("LastModified", "mtime", "last_modified", "created")
"""What the file systems of fsspec call the time of the last change."""


class AccessRefusedError(TransientError):
    """The place answers, and does not let us: wrong credentials, no permission, another region.

    At a start that is a setting to put right. Later on it is waited out like an outage: credentials that expired are
    renewed, a policy is put back, and no record is at fault.
    """


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file: its path below the storage's URL, its size in bytes, and the time of its last change in seconds since 1970 by
    the clock of the place."""

    path: str
    size: int
    modified: float


class Storage:
    """Files below one URL. Thread-safe. Paths are relative and come from this code, never from a record.

    A file that is absent raises FileNotFoundError, and so does every file of a bucket that is. Whatever else goes wrong
    outside (disk full, connection refused, time-out, 5xx) raises TransientError naming the place, a refusal
    AccessRefusedError. Options that make no client raise ConfigurationError at the first use.
    """

    def __init__(self, url: str, options: Mapping[str, Any], setting: str) -> None:
        """Raises ConfigurationError naming `setting` when the URL is of no kind that this code can write to.

        Nothing is contacted or created.
        """
        self.url = url
        self._setting = setting
        scheme = url.partition("://")[0] if "://" in url else "file"
        if scheme not in OBJECT_STORES | LOCAL:
            raise ConfigurationError(
                f"setting `{setting}`: found {url!r}, expected a folder, file:///... or an object store such as s3://..."
            )
        if scheme in S3:
            options = {**options, "config_kwargs": {**S3_CLIENT, **options.get("config_kwargs", {})}}
        try:
            self._fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        except ImportError as error:
            raise ConfigurationError(
                f"setting `{setting}`: {url} needs a package that is not installed ({error}); "
                "for S3: pip install 'imgdiff[s3]'"
            ) from error
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"setting `{setting}`: found {url!r}: {error}") from error
        self.local = scheme in LOCAL
        self._root = str(root).rstrip("/")
        self._s3 = self._to_connect = scheme in S3
        if self._s3:
            self._fs.retries = 1

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """What a person has to put right before the first use: a refusal, and a bucket that does not exist, raise
        ConfigurationError in this block."""
        options = f"{self._setting.partition('.')[0]}.options"
        try:
            yield
        except AccessRefusedError as error:
            hint = "" if self.local else f": check the credentials (`{options}` or the environment), region and policy"
            raise ConfigurationError(f"refused: {error}{hint}") from error
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"setting `{self._setting}`: {self.url}: {error.strerror or error}: make the bucket or folder first"
            ) from error

    def create_folder(self, path: str) -> None:
        """Make a folder and those above it, where the place has folders at all."""
        if self.local:
            with self._translated(path):
                os.makedirs(self._full(path), exist_ok=True)
                _sync_folder(os.path.dirname(self._full(path)))

    def read(self, path: str, limit: int | None = None) -> bytes:
        """A file's bytes; with `limit` no more than that many of them."""
        with self._translated(path):
            full = self._full(path)
            if self.local:
                with open(full, "rb") as file:
                    return file.read() if limit is None else file.read(limit)
            if limit is None:
                size = int(self._fs.info(full, **self._deadline())["size"])
                return cast(bytes, self._fs.cat_file(full, **self._deadline(size)))
            try:
                return cast(bytes, self._fs.cat_file(full, end=limit, **self._deadline(limit)))
            except FileNotFoundError:
                raise
            except OSError as error:
                # S3 refuses a range of an empty object.
                if _code(error) in EMPTY_RANGE and self._fs.info(full, **self._deadline())["size"] == 0:
                    return b""
                raise

    def stat(self, path: str) -> StoredFile | None:
        """A file's size and time, or None where it is absent."""
        try:
            with self._translated(path):
                if self.local:
                    found = os.stat(self._full(path))
                    return StoredFile(path, found.st_size, found.st_mtime)
                if self._s3:
                    # s3fs would list what lies below the path, too, whenever there is no such object.
                    bucket, key, _ = self._fs.split_path(self._full(path))
                    head = self._fs.call_s3(
                        "head_object", Bucket=bucket, Key=key, **self._fs.req_kw, **self._deadline()
                    )
                    return StoredFile(path, int(head["ContentLength"]), _modified(head))
                entry = self._fs.info(self._full(path), **self._deadline())
        except FileNotFoundError:
            return None
        return StoredFile(path, int(entry["size"]), _modified(entry)) if entry["type"] == "file" else None

    def size(self, path: str) -> int | None:
        """A file's size in bytes, or None where it is absent."""
        found = self.stat(path)
        return None if found is None else found.size

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below a folder, hidden ones and those of its folders included; one that is absent has none.

        An object store lists them before the first is given: choose a folder of at most some ten thousand.
        """
        with self._translated(folder):
            if self.local:
                yield from self._local_files(folder)
                return
            try:
                found = self._fs.find(self._full(folder), detail=True, **self._deadline())
            except FileNotFoundError:
                return
        for name, entry in sorted(found.items()):
            if entry["type"] == "file":
                yield StoredFile(self._relative(name), int(entry["size"]), _modified(entry))

    def _local_files(self, folder: str) -> Iterator[StoredFile]:
        for above, folders, names in os.walk(self._full(folder), onerror=_unless_absent):
            folders.sort()
            for name in sorted(names):
                path = self._relative(os.path.join(above, name))
                found = self.stat(path)
                if found is not None:
                    yield found

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, which appears at once or not at all, and is on disk when this returns.

        Folders between the root and the file are made; the root's first level has to exist (`create_folder`), so that a
        place that has been unmounted is not filled under its mount point: FileNotFoundError then.
        """
        if not self.local:
            with self._translated(path):
                self._fs.pipe_file(self._full(path), data, **self._deadline(len(data)))
            return
        aside = f"{PurePosixPath(path).parent}/.{PurePosixPath(path).name}.{uuid4().hex}"
        try:
            with self.writing(aside) as file:
                file.write(data)
            self.move(aside, path)
        except BaseException:
            self._forget(aside)
            raise

    def write_lightly(self, path: str, data: bytes) -> None:
        """As `write`, for a small file that is written often: it outlives this process, but perhaps not the machine's power,
        after which it may be absent or empty."""
        if not self.local:
            self.write(path, data)
            return
        aside = self._full(f"{PurePosixPath(path).parent}/.{PurePosixPath(path).name}.{uuid4().hex}")
        with self._translated(path):
            try:
                with _open_below(self._root, aside) as file:
                    file.write(data)
                os.replace(aside, self._full(path))
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(aside)
                raise

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A file open for writing, piece by piece; on disk when the block ends. A reader of a folder may see a part of it
        before. An object store gets it when the block ends, and nothing of it when that fails.

        Folders are made as in `write`.
        """
        full = self._full(path)
        with self._translated(path):
            if not self.local:
                with tempfile.NamedTemporaryFile(prefix="imgdiff-") as upload:
                    yield cast(IO[bytes], upload)
                    upload.flush()
                    self._fs.put_file(upload.name, full, **self._deadline(upload.tell()))
                return
            with _open_below(self._root, full) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(os.path.dirname(full))

    def settle(self, path: str) -> None:
        """See to it that a file which another process has just put there stays there if the power fails now."""
        if self.local:
            with self._translated(path):
                _sync_folder(os.path.dirname(self._full(path)))

    def move(self, source: str, target: str) -> None:
        """Give a file another name, replacing what has it; where there is no rename, copy and then delete.

        A move that was broken off may be repeated. Raises FileNotFoundError when the source is absent.
        """
        with self._translated(source):
            if self.local:
                os.replace(self._full(source), self._full(target))
                for folder in {os.path.dirname(self._full(target)), os.path.dirname(self._full(source))}:
                    _sync_folder(folder)
                return
            size = int(self._fs.info(self._full(source), **self._deadline())["size"])
            self._fs.cp_file(self._full(source), self._full(target), **self._deadline(size))
        try:
            self.delete(source)
        except FileNotFoundError:
            # Another process that repeats the same move has been faster; the copy is there.
            return

    def delete(self, path: str) -> None:
        """Delete a file. Where it is absent a folder raises FileNotFoundError, an object store may be content."""
        with self._translated(path):
            if self.local:
                os.unlink(self._full(path))
            else:
                self._fs.rm_file(self._full(path), **self._deadline())

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted, hidden ones left out; a folder that is absent has none."""
        return [name for name in self._listed(folder, "file") if not name.startswith(".")]

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted; one that is absent has none."""
        return self._listed(folder, "directory")

    def _listed(self, folder: str, kind: str) -> list[str]:
        try:
            with self._translated(folder):
                found = self._fs.ls(self._full(folder), detail=True, **self._deadline())
        except FileNotFoundError:
            return []
        return sorted(PurePosixPath(entry["name"]).name for entry in found if entry["type"] == kind)

    @contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        """A file open for reading, with random access."""
        with self._translated(path), self._fs.open(self._full(path), "rb") as file:
            yield file

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _relative(self, full: str) -> str:
        return full.removeprefix(self._root).lstrip("/")

    def _deadline(self, size: int = 0) -> dict[str, float]:
        """For a call that moves this many bytes. Only file systems that wait for a network take one."""
        return {"timeout": CALL_DEADLINE_S + size / SLOWEST_BYTES_PER_S} if self._fs.async_impl else {}

    def _connect(self) -> None:
        try:
            self._fs.connect(**self._deadline())
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"setting `{self._setting.partition('.')[0]}.options`: no client for {self.url} can be made of it: {error}"
            ) from error
        self._to_connect = False

    def _forget(self, path: str) -> None:
        try:
            self.delete(path)
        except (FileNotFoundError, TransientError):
            return

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            if self._to_connect:
                self._connect()
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CLIENT_MODULES:
                kind = AccessRefusedError if _is_refusal(error) else TransientError
                cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise kind(f"{self.url} (setting `{self._setting}`): {path or 'root'}: {cause}") from error
            raise


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, PermissionError) or type(error).__name__ in REFUSAL_TYPES:
        return True
    return _code(error) in REFUSALS


def _code(error: Exception) -> str | None:
    """What S3 calls its answer, where it gave one."""
    answers = (getattr(said, "response", None) for said in (error, error.__cause__))
    return next((answer["Error"].get("Code") for answer in answers if isinstance(answer, dict)), None)


def _modified(entry: Mapping[str, Any]) -> float:
    found = next(entry[key] for key in MODIFIED if entry.get(key) is not None)
    return found.timestamp() if isinstance(found, datetime) else float(found)


def _unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _open_below(root: str, full: str) -> IO[bytes]:
    try:
        return open(full, "xb")
    except FileNotFoundError:
        _make_folders_below(root, os.path.dirname(full))
        return open(full, "xb")


def _make_folders_below(root: str, folder: str) -> None:
    """Make the folders between the first level under `root` and `folder`; that level itself has to exist."""
    parts = PurePosixPath(os.path.relpath(folder, root)).parts
    current = os.path.join(root, *parts[:1])
    for part in parts[1:]:
        parent, current = current, os.path.join(current, part)
        try:
            os.mkdir(current)
        except FileExistsError:
            continue
        _sync_folder(parent)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
