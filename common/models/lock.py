"""The lock file: which revision of each model was downloaded, and the size and SHA-256 of each of its files.

JSON with sorted keys, so that two equal locks are equal bytes and a change reads well in a diff.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from common.runtime.errors import ConfigurationError
from schemas.base import Frozen


def inside(name: str) -> str:
    """The name of a file, if it lies in its model's folder. Raises ValueError where it does not."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or name != path.as_posix():
        raise ValueError(f"{name!r} is no path inside the model's folder")
    return name


FileName = Annotated[str, AfterValidator(inside)]
"""A file's path relative to its model's folder, with slashes."""


class LockedFile(Frozen):
    """What a file has to be."""

    size: int = Field(ge=0)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class LockedModel(Frozen):
    """What a model's files have to be.

    `origin` is where they came from, `requested` what the settings named then (a branch, say, or the URL of a single
    file), and `revision` the commit that this was; for a file from a URL, which has none, its digest.
    """

    origin: str
    requested: str
    revision: str
    files: dict[FileName, LockedFile]


class Lock(Frozen):
    """All locked models, by id."""

    version: Literal[1] = 1
    models: dict[str, LockedModel] = {}

    def having(self, id: str, model: LockedModel) -> "Lock":
        """This lock with a model put in or replaced."""
        return Lock(models={**self.models, id: model})


def read_lock(path: Path) -> Lock:
    """The lock; an empty one where there is no file. Raises ConfigurationError naming a file that is no lock."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"lock file {path}: {error}") from error
    try:
        return Lock.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))[:200]
        raise ConfigurationError(
            f"lock file {path}: {where + ': ' if where else ''}{problem['msg']}; expected what "
            "`imgdiff models download` wrote"
        ) from error


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the file in one step: a reader sees the old lock or the new one."""
    write_json(path, lock.model_dump(mode="json"))


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write JSON with sorted keys in one step. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            # Others on this machine read it too, as they would any file; mkstemp keeps it from them.
            os.fchmod(descriptor, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
