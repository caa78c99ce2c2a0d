"""A single file from the web, in one piece at the end: what was cut is gone on with, by this process or a later one."""

import contextlib
import os
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from common.runtime.errors import ConfigurationError, TransientError

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0
TRIES = 5
"""Cuts in a row without a byte between them."""

PAUSE_S = 1.0
_RANGE_PAST_THE_END = 416
_TOO_MANY_REQUESTS = 429
_PARTIAL = 206

Told = Callable[[int, int | None], None]
"""Is told how many bytes are there, and how many there will be if that is known."""


class _CutError(Exception):
    """The connection ended before the file did."""


def fetch(url: str, target: Path, told: Told) -> None:
    """Fetch a file to `target`, through a hidden file beside it.

    Raises ConfigurationError where the server says no, TransientError where it can not be reached.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    tries = TRIES
    while True:
        before = _size(part)
        try:
            _go_on(url, part, told)
        except HTTPError as error:
            if error.code == _RANGE_PAST_THE_END:
                _forget(part)
            elif error.code < 500 and error.code != _TOO_MANY_REQUESTS:
                raise ConfigurationError(f"{url}: {error.code} {error.reason}") from error
            cause: Exception = error
        except (OSError, HTTPException, _CutError) as error:
            if (
                isinstance(error, OSError)
                and error.errno is not None
                and not isinstance(error, ConnectionError | SSLError)
            ):
                raise
            cause = error
        else:
            os.replace(part, target)
            _forget(part)
            return
        tries = TRIES if _size(part) > before else tries - 1
        if tries == 0:
            raise TransientError(f"{url}: {getattr(cause, 'reason', cause)}") from cause
        time.sleep(PAUSE_S)


def _go_on(url: str, part: Path, told: Told) -> None:
    """Fetch what is missing. A file that has changed since the cut, or whose sameness nobody tells, is fetched anew."""
    had, version = _size(part), _version_file(part)
    request = Request(url, headers={"Accept-Encoding": "identity"})
    if had and version.is_file():
        request.add_header("Range", f"bytes={had}-")
        request.add_header("If-Range", version.read_text())
    with urlopen(request, timeout=TIMEOUT_S) as response:
        resumed = response.status == _PARTIAL
        length = response.headers.get("Content-Length")
        start = had if resumed else 0
        total = start + int(length) if length is not None else None
        if not resumed:
            _forget(part)
            tag = response.headers.get("ETag")
            # Only a strong tag promises the same bytes.
            if tag is not None and not tag.startswith("W/"):
                version.write_text(tag)
        with part.open("ab") as file:
            _copy(response, file, start, total, told)


def _copy(response: IO[bytes], file: IO[bytes], done: int, total: int | None, told: Told) -> None:
    while chunk := response.read(CHUNK_BYTES):
        file.write(chunk)
        done += len(chunk)
        told(done, total)
    if total is not None and done < total:
        raise _CutError(f"the connection ended after {done} of {total} bytes")


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
