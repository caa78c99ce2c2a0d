"""Where a model's files lie on this machine, and whether they are the ones that were locked."""

from dataclasses import dataclass
from pathlib import Path

from common.runtime.errors import ConfigurationError
from common.settings import WeightsSettings, WeightsSource


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


def find_weights(source: WeightsSource, settings: WeightsSettings) -> Weights:
    """The weights on this machine. Raises ConfigurationError where they are missing or differ from the lock file."""
    folder = source.path if source.path is not None else settings.folder / source.id
    if not folder.is_dir():
        raise ConfigurationError(
            f"weights of {source.id}: no folder {folder}; `imgdiff models download` fetches them, "
            "or `weights.path` names a folder that has them"
        )
    return Weights(source.id, source.revision, folder)
