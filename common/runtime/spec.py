"""What a worker tells the runtime about itself."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from common.runtime.stage import Stage
from common.settings import CommonSettings, StageSettings
from schemas.record import Record
from schemas.topics import Route

SettingsT = TypeVar("SettingsT", bound=StageSettings)


@dataclass(frozen=True, slots=True)
class WorkerSpec(Generic[SettingsT]):
    """A worker: its place in the stream, the record type that it reads, its settings, its closed set of reject reasons,
    and how its stage is built once the settings are known (this is when models load)."""

    route: Route
    reads: type[Record]
    settings: type[SettingsT]
    reasons: type[StrEnum]
    build: Callable[[SettingsT, CommonSettings], Stage[Any, Any]]
