"""Apache Kafka's jars: a locked list, downloaded once, checked, and kept."""

import errno
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Any

from common.runtime.errors import ConfigurationError
from ops.broker.files import MIB, exclusive, require_free
from ops.broker.report import Report

KAFKA_VERSION = "4.3.1"

INSTALL_HINT = "the local broker needs the extra `local`: pip install 'imgdiff[local]'"

_ATTEMPTS = 3
_CONNECTIONS = 4
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the list, with its size in bytes and its digest (hex)."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def is_in(self, folder: Path) -> bool:
        """A file gets its name only after its digest was checked, so that the size is enough here."""
        try:
            return (folder / self.file_name).stat().st_size == self.size
        except FileNotFoundError:
            return False


def locked_jars() -> tuple[Jar, ...]:
    """The list in jars.txt, in class path order. `python -m ops.broker.lock` writes it."""
    lines = (resources.files("ops.broker") / "jars.txt").read_text().splitlines()
    return tuple(_parse(line) for line in lines if not line.startswith("#"))


def _parse(line: str) -> Jar:
    coordinate, size, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, int(size), sha256)


class JarCache:
    """A folder with the jars. Several brokers and processes may share it.

    `repositories` are Maven repositories by name; by default Maven Central and what jgo's own configuration file says
    (an entry named `central` there replaces Maven Central).
    """

    def __init__(self, folder: Path, report: Report, repositories: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._report = report
        self._repositories = repositories

    def ensure(self, jars: Sequence[Jar]) -> list[Path]:
        """The files, after downloading those that are missing.

        Raises ConfigurationError if one cannot be downloaded, is not what the list says, or the disk is full.
        """
        if not all(jar.is_in(self._folder) for jar in jars):
            with exclusive(self._folder / ".lock", self._report):
                missing = [jar for jar in jars if not jar.is_in(self._folder)]
                if missing:
                    self._download(missing)
        return [self._folder / jar.file_name for jar in jars]

    def _download(self, jars: Sequence[Jar]) -> None:
        total = sum(jar.size for jar in jars)
        require_free(self._folder, total + 16 * MIB, "the jars of Apache Kafka")
        self._report.say(
            f"downloading Apache Kafka {KAFKA_VERSION} once: {len(jars)} files, {total / 1e6:.1f} MB, to {self._folder}"
        )
        # Aside first: jgo writes under the final name, where an interrupted download would look complete.
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self._folder) as incoming:
            maven = _Maven(Path(incoming), _Meter(total, self._report), self._repositories)
            with ThreadPoolExecutor(_CONNECTIONS) as pool:
                fetched = [(jar, pool.submit(maven.fetch, jar)) for jar in jars]
                try:
                    for jar, future in fetched:
                        os.replace(future.result(), self._folder / jar.file_name)
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise


class _Meter:
    """Sums up bytes of parallel downloads, in the form that jgo's progress callback has."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._report = report
        self._done = 0
        self._lock = Lock()

    @contextmanager
    def __call__(self, file_name: str, size: int) -> Iterator[Callable[[int], None]]:
        yield self._add

    def _add(self, count: int) -> None:
        with self._lock:
            # A repeated attempt counts its bytes twice.
            self._done = min(self._done + count, self._total)
            self._report.downloaded(self._done, self._total)


class _Maven:
    """Single artifacts by jgo, without its resolution: the list is resolved already."""

    def __init__(self, incoming: Path, meter: _Meter, repositories: Mapping[str, str] | None) -> None:
        try:
            from jgo.config import GlobalSettings
            from jgo.constants import MAVEN_CENTRAL_URL
            from jgo.maven import MavenContext, PythonResolver
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"{INSTALL_HINT} ({error})") from error
        # jgo warns of a wrong checksum and goes on; the digests of the list are what decides here.
        logging.getLogger("jgo").setLevel(logging.ERROR)
        if repositories is None:
            repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
        self._repositories = repositories
        self._context: Any = MavenContext(
            resolver=PythonResolver(progress_callback=meter),
            repo_cache=incoming,
            local_repos=[],
            remote_repos=dict(repositories),
            timeout=_TIMEOUT_S,
        )

    def fetch(self, jar: Jar) -> Path:
        """The checked file. Raises ConfigurationError."""
        from requests import RequestException
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

        attempts = Retrying(
            retry=retry_if_exception_type((RequestException, RuntimeError)),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_fixed(1),
            reraise=True,
        )
        try:
            path = attempts(self._fetch_once, jar)
        except RequestException as error:
            raise self._failure(jar, f"{type(error).__name__}; the first start needs the network") from error
        except RuntimeError as error:
            raise self._failure(jar, "the server has no such file") from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise ConfigurationError(f"disk full while downloading {jar.file_name}") from error
            raise self._failure(jar, str(error)) from error
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != jar.sha256:
            raise self._failure(jar, f"SHA-256 {found}, expected {jar.sha256}")
        return path

    def _fetch_once(self, jar: Jar) -> Path:
        artifact = self._context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        artifact.cached_path.unlink(missing_ok=True)
        path: Path = artifact.resolve()
        return path

    def _failure(self, jar: Jar, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{jar.file_name} from {', '.join(self._repositories.values())}: {problem}")
