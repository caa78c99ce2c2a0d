"""Models from the hub or a mirror of it, through its own client, with every file held to what the hub announced."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.models.lock import inside
from common.models.weights import missing_of, needed_of
from common.runtime.errors import ConfigurationError, TransientError
from common.settings import WeightsSource

_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class HubFile:
    """What the hub announces about a file. Large ones have a SHA-256, small ones the name that git gives their bytes."""

    size: int | None
    sha256: str | None
    git_sha1: str | None

    def is_at(self, path: Path, sha256: str) -> bool:
        """Whether a file, whose digest is given, is the announced one as far as the hub said."""
        if self.size is not None and path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return sha256 == self.sha256
        return self.git_sha1 is None or _git_sha1(path) == self.git_sha1


@dataclass(frozen=True, slots=True)
class HubModel:
    """A commit of a model on the hub: those of its files that are needed."""

    hub: str
    id: str
    commit: str
    files: Mapping[str, HubFile]

    @property
    def size(self) -> int:
        """Bytes of all files, as far as announced."""
        return sum(file.size or 0 for file in self.files.values())


class Hub:
    """A hub. Raises ConfigurationError where its client is not installed."""

    def __init__(self, endpoint: str | None, *, bars: bool) -> None:
        try:
            import huggingface_hub
            from huggingface_hub import constants, utils
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"`models download` needs the package {error.name!r}, which is not installed: pip install 'imgdiff[models]'"
            ) from error
        self._client: Any = huggingface_hub
        self.endpoint: str = (endpoint or constants.ENDPOINT).rstrip("/")
        if not bars:
            utils.disable_progress_bars()

    def find(self, source: WeightsSource, revision: str) -> HubModel:
        """The commit of a revision, and its files. Raises ConfigurationError where there is none, or files are missing."""
        with self._clear(source.id, revision):
            info = self._client.HfApi(endpoint=self.endpoint).model_info(
                source.id, revision=revision, files_metadata=True
            )
            if info.sha is None:
                raise ValueError("no commit in its answer")
            announced = {
                inside(each.rfilename): HubFile(
                    each.size, each.lfs.sha256 if each.lfs else None, None if each.lfs else each.blob_id
                )
                for each in info.siblings or ()
            }
        files = {name: announced[name] for name in needed_of(announced, source.files)}
        if missing := missing_of(files, source.files):
            raise ConfigurationError(
                f"weights of {source.id}: {self.endpoint} has no file {missing[0]} in the revision {revision}"
            )
        return HubModel(self.endpoint, source.id, info.sha, files)

    def fetch(self, model: HubModel, folder: Path) -> None:
        """Fetch the files that are not there yet. A cut connection is gone on with; a later call keeps whole files."""
        with self._clear(model.id, model.commit):
            self._client.snapshot_download(
                model.id,
                revision=model.commit,
                local_dir=folder,
                allow_patterns=_literally(model.files),
                endpoint=self.endpoint,
            )

    @contextmanager
    def _clear(self, id: str, revision: str) -> Iterator[None]:
        """What the client raises as one line: wrong for good, or to be tried again later."""
        import httpx
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError as error:
            raise ConfigurationError(
                f"weights of {id}: {self.endpoint} gives them only to who has accepted their terms there and shows a token: "
                "`hf auth login`, or HF_TOKEN"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise ConfigurationError(
                f"weights of {id}: {self.endpoint} has no such model, or shows it only with a token: "
                "`hf auth login`, or HF_TOKEN"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ConfigurationError(f"weights of {id}: {self.endpoint} has no revision {revision}") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            kind = TransientError if status >= 500 or status == _TOO_MANY_REQUESTS else ConfigurationError
            raise kind(f"weights of {id}: {self.endpoint} answers {status}") from error
        except errors.OfflineModeIsEnabled as error:
            raise ConfigurationError(f"weights of {id}: HF_HUB_OFFLINE is set, nothing can be downloaded") from error
        except (httpx.TransportError, errors.LocalEntryNotFoundError) as error:
            raise TransientError(f"weights of {id}: {self.endpoint} can not be reached: {_line(error)}") from error
        except OSError as error:
            kind = TransientError if error.errno is None else ConfigurationError
            raise kind(f"weights of {id}: {_line(error)}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(
                f"weights of {id}: {self.endpoint} does not answer as a hub does: {type(error).__name__}: {_line(error)}"
            ) from error


def _literally(names: Mapping[str, HubFile]) -> Sequence[str]:
    """Names as patterns that fit nothing else."""
    return ["".join(f"[{c}]" if c in "*?[" else c for c in name) for name in names]


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
