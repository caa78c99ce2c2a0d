"""The sink's delivery: a partition's part of a batch becomes one shard, which the transaction names."""

import logging
from collections.abc import Callable, Sequence
from uuid import uuid4

from common.kafka import Partition
from common.runtime.delivery import DeadLetterWriter, coordinates
from common.runtime.errors import TransientError
from common.runtime.execution import error_info
from common.runtime.flight import Failed, Finished, Prepared
from common.runtime.retry import Retry
from common.runtime.stage import Emit, Task
from schemas.counters import OffsetMetadata, ShardMark
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.qa import DifferenceQa
from workers.dataset.schema import Sample, rows_of, schema
from workers.dataset.shards import ShardLostError, ShardStore, shard_name

log = logging.getLogger(__name__)


class ShardDelivery:
    """Writes samples to shards. `shards` has been initialised."""

    def __init__(
        self, shards: ShardStore, dead_letters: DeadLetterWriter, retry: Retry, *, accept_missing: bool = False
    ) -> None:
        self._shards = shards
        self._accept_missing = accept_missing
        self._dead_letters = dead_letters
        self._retry = retry
        self._schema = schema()

    def prepare(self, finished: Finished, wanted: Callable[[], bool]) -> Prepared:
        """See that the sample makes a row: later it could no longer be dead-lettered without its neighbours."""
        outcome = finished.outcome
        if isinstance(outcome, Emit):
            try:
                rows_of([_sample_of(finished)], self._schema)
                return Prepared(finished, outcome, [])
            except MemoryError:
                raise
            except Exception as error:
                outcome = Failed(DeadLetterKind.POISON, PoisonReason.EXCEPTION, error=error_info(error))
        return Prepared(finished, outcome, [self._dead_letters.message(finished.fetched, outcome)])

    def seal(self, partition: Partition, prepared: Sequence[Prepared], wanted: Callable[[], bool]) -> ShardMark | None:
        """Write the rows of one partition. Raises NotWantedError when it goes elsewhere while the place is unreachable."""
        samples = [_sample_of(one.finished) for one in prepared if isinstance(one.outcome, Emit)]
        if not samples:
            return None

        def write() -> str:
            token = uuid4().hex
            self._shards.write_pending(token, samples)
            return token

        token = self._retry.run("write shard", write, wanted)
        return ShardMark(
            token=token, name=shard_name(partition.index, samples[0].source.offset, samples[-1].source.offset)
        )

    def discard(self, mark: ShardMark) -> None:
        try:
            self._shards.discard(mark.token)
        except TransientError as error:
            log.warning("a shard that was not committed stays in pending/: %s", error)

    def complete(self, partition: Partition, metadata: OffsetMetadata) -> None:
        if metadata.shard is None:
            return
        try:
            self._shards.finish(metadata.shard)
        except ShardLostError as error:
            if not self._accept_missing:
                raise
            log.warning("accepted: %s", error)


def _sample_of(finished: Finished) -> Sample:
    task = finished.loaded.content
    if not isinstance(task, Task) or not isinstance(task.record, DifferenceQa):
        raise TypeError(
            f"the sink got a {type(task).__name__}, expected a task with a {DifferenceQa.schema_name()} record"
        )
    pictures = {name: picture.data for name, picture in task.pictures.items()}
    return Sample(task.record, pictures, coordinates(finished.fetched))
