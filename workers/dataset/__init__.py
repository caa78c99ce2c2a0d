"""`dataset`: the sink writes finished samples to Parquet shards, each row exactly once."""

from common.runtime.delivery import DeadLetterWriter, Delivery
from common.runtime.spec import DeliveryParts, WorkerSpec
from common.runtime.stage import Stage
from common.settings import CommonSettings
from schemas.qa import DifferenceQa
from schemas.topics import DATASET
from workers.dataset.reasons import DatasetReason
from workers.dataset.settings import DatasetSettings


def build(settings: DatasetSettings, common: CommonSettings) -> Stage[DifferenceQa, DifferenceQa]:
    """The stage; it has no model."""
    from workers.dataset.stage import DatasetStage

    return DatasetStage()


def deliver(parts: DeliveryParts) -> Delivery:
    """The delivery to shards, whose folders are made where there are none yet."""
    from workers.dataset.delivery import ShardDelivery
    from workers.dataset.shards import ShardStore

    settings = parts.settings
    if not isinstance(settings, DatasetSettings):
        raise TypeError(f"the sink got {type(settings).__name__}, expected DatasetSettings")
    shards = ShardStore(settings.url, settings.options)
    shards.initialise()
    return ShardDelivery(
        shards,
        DeadLetterWriter(parts.route, parts.names, parts.signature),
        parts.retry,
        accept_missing=settings.accept_missing_shards,
    )


WORKER = WorkerSpec(
    route=DATASET,
    reads=DifferenceQa,
    settings=DatasetSettings,
    reasons=DatasetReason,
    build=build,
    deliver=deliver,
    decodes_images=False,
)
