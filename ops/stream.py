"""A stream's status, put together from its settings."""

from common.settings import Layers, section_of
from ops.dataset.statistics import SampleCounter
from ops.dead_letters.replay_log import replayed_total
from ops.ingest.progress import ingested_captions
from ops.status import StatusReader
from schemas.topics import DATASET, Names
from workers.dataset.settings import DatasetSettings


def open_status(layers: Layers) -> StatusReader:
    """A reader of this stream's status. Raises ConfigurationError."""
    common = layers.common()
    dataset = layers.section(section_of(DATASET.worker), DatasetSettings)
    return StatusReader(
        common,
        dataset.url,
        count_samples=SampleCounter(dataset.url, dataset.options),
        count_ingested=lambda: ingested_captions(common.kafka, common.prefix),
        count_replayed=lambda route: replayed_total(common.kafka, Names(common.prefix), route),
    )
