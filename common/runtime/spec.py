"""What a worker tells the runtime about itself."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from common.blobs import Blobs
from common.runtime.delivery import Delivery, Signature, TopicDelivery
from common.runtime.retry import Retry
from common.runtime.stage import Stage
from common.settings import CommonSettings, StageSettings
from schemas.record import Record
from schemas.topics import Names, Route

SettingsT = TypeVar("SettingsT", bound=StageSettings)


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """What a delivery can be built from."""

    route: Route
    names: Names
    signature: Signature
    blobs: Blobs
    retry: Retry
    settings: StageSettings


def to_next_topic(parts: DeliveryParts) -> Delivery:
    """Deliver records to the topic that the route writes."""
    return TopicDelivery(parts.route, parts.names, parts.signature, parts.blobs, parts.retry)


@dataclass(frozen=True, slots=True)
class WorkerSpec(Generic[SettingsT]):
    """A worker: its place in the stream, the record type that it reads, its settings, its closed set of reject reasons,
    how its stage is built once the settings are known (this is when models load), and where its outcomes go."""

    route: Route
    reads: type[Record]
    settings: type[SettingsT]
    reasons: type[StrEnum]
    build: Callable[[SettingsT, CommonSettings], Stage[Any, Any]]
    deliver: Callable[[DeliveryParts], Delivery] = to_next_topic
    decodes_images: bool = True
