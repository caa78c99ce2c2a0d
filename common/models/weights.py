"""Where a model's files lie on this machine, and whether they are the ones that were locked.

Files that are in the lock file have to be what it says. Files that are not are taken as they are, and the revision says
so: `unlocked:` and 12 hexadecimal digits that are the same whenever the names and the contents of all files are.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from common.models.digests import Digests
from common.models.lock import LockedFile, LockedModel, read_lock
from common.runtime.errors import ConfigurationError
from common.settings import WeightsSettings, WeightsSource
from schemas.trail import ModelId

log = logging.getLogger(__name__)

UNLOCKED = "unlocked:"
"""How the revision of files begins that no lock file knows."""

_DOWNLOAD = "`imgdiff models download`"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_MEMORIES = ".digests"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of one model, in the layout of the hub. `revision` is what goes into every record's trail."""

    id: str
    revision: str
    folder: Path

    def file(self, name: str) -> Path:
        """One of the files. Raises ConfigurationError where it is missing."""
        path = self.folder / name
        if not path.is_file():
            raise ConfigurationError(f"weights of {self.id}: {path} is missing")
        return path

    def identity(self, role: str, *variant: str) -> ModelId:
        """How a model of these files shows in the trail. `variant`: the numbers it computes in, the shape of its batches."""
        return ModelId(role=role, id=self.id, revision=self.revision, variant=", ".join(variant))


class OtherRevisionError(ConfigurationError):
    """The lock file knows another revision of a model than the settings name."""


class Fault(StrEnum):
    """How files are not what they have to be."""

    MISSING = "missing"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a model's files, in words for its user."""

    fault: Fault
    said: str


def find_weights(source: WeightsSource, settings: WeightsSettings, *, trusting: bool = True) -> Weights:
    """The weights on this machine. Raises ConfigurationError where they are missing or differ from the lock file.

    Sizes are compared always; for a file whose SHA-256 is remembered and that has not changed since, the memory counts,
    unless `trusting` is off.
    """
    folder = folder_of(source, settings)
    locked = lock_of(source, settings)
    if not folder.is_dir():
        raise ConfigurationError(
            f"weights of {source.id}: no folder {folder}; {_DOWNLOAD} fetches them, "
            "or `weights.path` names a folder that has them"
        )
    if (problem := problem_of(source, folder, locked)) is not None:
        raise ConfigurationError(f"weights of {source.id} in {folder}: {problem.said}")
    try:
        found = digests_of(source, settings, trusting=trusting).of(files_in(folder, source.files))
    except OSError as error:
        raise ConfigurationError(f"weights of {source.id} in {folder}: {error}") from error
    if locked is None:
        revision = UNLOCKED + _digest(found)
        log.warning("weights of %s in %s: the revision is not pinned, the trail says %s", source.id, folder, revision)
        return Weights(source.id, revision, folder)
    for name, sha256 in found.items():
        if sha256 != locked.files[name].sha256:
            raise ConfigurationError(
                f"weights of {source.id} in {folder}: {name} has the SHA-256 {sha256}, expected "
                f"{locked.files[name].sha256} as in {settings.lock_file}; {_DOWNLOAD} fetches it again"
            )
    return Weights(source.id, locked.revision, folder)


def folder_of(source: WeightsSource, settings: WeightsSettings) -> Path:
    """Where the files have to lie."""
    return source.path if source.path is not None else settings.folder / source.id


def lock_of(source: WeightsSource, settings: WeightsSettings) -> LockedModel | None:
    """What the lock file says about the model; None where it does not know it.

    Raises OtherRevisionError where it knows another revision than the settings name. A folder of one's own (`path`) has
    no revision that could be another: its files have to be the locked ones, or go by another id.
    """
    locked = read_lock(settings.lock_file).models.get(source.id)
    if locked is not None and source.path is None and not answers(locked, source):
        raise OtherRevisionError(
            f"weights of {source.id}: {settings.lock_file} has {locked.requested} ({locked.revision}), the settings name "
            f"{requested_of(source)}; {_DOWNLOAD} fetches that"
        )
    return locked


def requested_of(source: WeightsSource) -> str:
    """What the settings name: a revision on the hub, or the place of a file that has none."""
    return source.revision if source.url is None else source.url


def answers(locked: LockedModel, source: WeightsSource) -> bool:
    """Whether what is locked is what the settings name."""
    return requested_of(source) in {locked.requested, locked.revision}


def problem_of(source: WeightsSource, folder: Path, locked: LockedModel | None) -> Problem | None:
    """What is wrong with the files at first sight, by their names and sizes; None where nothing is."""
    there = files_in(folder, source.files)
    if locked is None:
        if missing := missing_of(there, source.files):
            return Problem(Fault.MISSING, f"{missing[0]} is missing; {_DOWNLOAD} fetches it")
        return None
    return _difference(source, there, locked)


def _difference(source: WeightsSource, there: Mapping[str, int], locked: LockedModel) -> Problem | None:
    wanted = wanted_of(source, locked)
    if unknown := missing_of(wanted, source.files):
        return Problem(Fault.MISSING, f"{unknown[0]} is not in the lock file; {_DOWNLOAD} fetches and adds it")
    for name, file in wanted.items():
        if name not in there:
            return Problem(Fault.MISSING, f"{name} is missing; {_DOWNLOAD} fetches it")
        if there[name] != file.size:
            return Problem(
                Fault.DIFFERS, f"{name} has {there[name]} bytes, expected {file.size}; {_DOWNLOAD} fetches it again"
            )
    if stray := sorted(set(there) - set(wanted)):
        return Problem(
            Fault.DIFFERS, f"{stray[0]} is not in the lock file, expected nothing but what was downloaded under this id"
        )
    return None


def wanted_of(source: WeightsSource, locked: LockedModel) -> dict[str, LockedFile]:
    """Those of the locked files that the settings name."""
    return {name: locked.files[name] for name in needed_of(sorted(locked.files), source.files)}


def files_in(folder: Path, patterns: Sequence[str]) -> dict[str, int]:
    """Those files of a folder that the patterns name, with their sizes."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return {name: (folder / name).stat().st_size for name in needed_of(names, patterns)}


def needed_of(names: Iterable[str], patterns: Sequence[str]) -> Sequence[str]:
    """Those of some files that the patterns name, as on the hub: `*` stands for slashes too, a folder for all in it.

    Hidden files are nobody's weights. A pickle beside a safetensors file holds the same once more, and is never read.
    """
    named = [name for name in names if _matches(name, patterns) and not _hidden(name)]
    safe = _safe_folders(named)
    return [name for name in named if not (_is_pickle(name) and PurePosixPath(name).parent in safe)]


def missing_of(names: Collection[str], patterns: Sequence[str]) -> Sequence[str]:
    """What the patterns name and some files lack; all of them where there are no files at all."""
    if not names:
        return patterns
    safe = _safe_folders(names)
    return [
        pattern
        for pattern in patterns
        if _is_name(pattern)
        and pattern not in names
        and not (_is_pickle(pattern) and PurePosixPath(pattern).parent in safe)
    ]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _is_name(pattern: str) -> bool:
    """Whether it names one file, which then has to be there."""
    return not pattern.endswith("/") and not any(character in pattern for character in "*?[")


def _is_pickle(name: str) -> bool:
    return name.endswith(_PICKLES)


def _safe_folders(names: Iterable[str]) -> Set[PurePosixPath]:
    return {PurePosixPath(name).parent for name in names if name.endswith(".safetensors")}


def digests_of(source: WeightsSource, settings: WeightsSettings, *, trusting: bool = True) -> Digests:
    """The digests of the files of a model, remembered in the folder of all weights."""
    folder = folder_of(source, settings)
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:_DIGITS]
    memory = settings.folder / _MEMORIES / f"{source.id.replace('/', '--')}-{place}.json"
    return Digests(folder, memory, trusting=trusting)


def _digest(digests: Mapping[str, str]) -> str:
    text = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
