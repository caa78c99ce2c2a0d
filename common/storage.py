"""A place for whole files: a local folder or an object store, behind one small interface with typed errors.

Only places whose writes are atomic are taken: a local file system renames, an object store shows an object when its
upload is complete.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import IO, Any, cast
from uuid import uuid4

import fsspec

from common.runtime.errors import ConfigurationError, TransientError

LOCAL = frozenset({"file", "local"})
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
CLIENT_MODULES = frozenset({"botocore", "aiobotocore", "aiohttp", "boto3", "google", "gcsfs", "azure"})
"""Packages whose exceptions are an object store's, although they are no OSError."""


class Storage:
    """Files below one URL. Thread-safe. Paths are relative and come from this code, never from a record.

    A file that is absent raises FileNotFoundError. Whatever else goes wrong outside (permission denied, disk full,
    connection refused, time-out) raises TransientError naming the place.
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

    def create_folder(self, path: str) -> None:
        """Make a folder and those above it, where the place has folders at all."""
        if self.local:
            with self._translated(path):
                os.makedirs(self._full(path), exist_ok=True)
                _sync_folder(os.path.dirname(self._full(path)))

    def read(self, path: str, limit: int | None = None) -> bytes:
        """A file's bytes; with `limit` no more than that many of them."""
        with self._translated(path):
            if self.local:
                with open(self._full(path), "rb") as file:
                    return file.read() if limit is None else file.read(limit)
            if limit is None:
                return cast(bytes, self._fs.cat_file(self._full(path)))
            try:
                return cast(bytes, self._fs.cat_file(self._full(path), end=limit))
            except FileNotFoundError:
                raise
            except OSError:
                # S3 refuses a range of an empty object.
                if self._fs.info(self._full(path))["size"] == 0:
                    return b""
                raise

    def size(self, path: str) -> int | None:
        """A file's size in bytes, or None where it is absent."""
        try:
            with self._translated(path):
                if self.local:
                    return os.stat(self._full(path)).st_size
                return int(self._fs.info(self._full(path))["size"])
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, which appears at once or not at all, and is on disk when this returns.

        Folders between the root and the file are made; the root's first level has to exist (`create_folder`), so that a
        place that has been unmounted is not filled under its mount point: FileNotFoundError then.
        """
        if not self.local:
            with self._translated(path):
                self._fs.pipe_file(self._full(path), data)
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
        """A file open for writing, piece by piece; on disk when the block ends. A reader may see a part of it before.

        Folders are made as in `write`.
        """
        full = self._full(path)
        with self._translated(path):
            if not self.local:
                with self._fs.open(full, "wb") as upload:
                    yield upload
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
            self._fs.cp_file(self._full(source), self._full(target))
        try:
            self.delete(source)
        except FileNotFoundError:
            # Another process that repeats the same move has been faster; the copy is there.
            return

    def delete(self, path: str) -> None:
        with self._translated(path):
            if self.local:
                os.unlink(self._full(path))
            else:
                self._fs.rm_file(self._full(path))

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted, hidden ones left out; a folder that is absent has none."""
        try:
            with self._translated(folder):
                found = self._fs.ls(self._full(folder), detail=True)
        except FileNotFoundError:
            return []
        names = (PurePosixPath(entry["name"]).name for entry in found if entry["type"] == "file")
        return sorted(name for name in names if not name.startswith("."))

    @contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        """A file open for reading, with random access."""
        with self._translated(path), self._fs.open(self._full(path), "rb") as file:
            yield file

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _forget(self, path: str) -> None:
        try:
            self.delete(path)
        except (FileNotFoundError, TransientError):
            return

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CLIENT_MODULES:
                cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise TransientError(f"{self.url} (setting `{self._setting}`): {path or 'root'}: {cause}") from error
            raise


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
