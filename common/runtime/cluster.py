"""What has to hold of a stage's topics: outputs go to the partition that their input came from, so all have the same ones."""

import logging
from collections.abc import Sequence

from common.kafka import Admin, ConsumedRecord, KafkaError, Partition, Share, read_to_end
from common.runtime.deadline import Deadline
from common.runtime.errors import BrokerUnreachableError, ConfigurationError, TransientError
from common.settings import CommonSettings
from schemas import dead_letters, headers
from schemas.headers import text_header
from schemas.topics import SEGMENT_HOURS, Names, Route

log = logging.getLogger(__name__)

GROWTH_PATIENCE_S = 60.0
"""How long a new partition may be missing elsewhere: people give topics more partitions one after the other, and a broker may
answer before it has heard of them."""

CLEANING_HOURS = 1
"""How long a broker may take to delete what has expired: it looks every five minutes."""

OUTPUTS_LOOKED_AT = 100
"""How many offsets of a partition of outputs are read to see whose they are."""
SILENCE_S = 5.0


class UnevenTopicsError(ConfigurationError):
    """The topics of a stage do not have the same partitions."""


class Cluster:
    """The topics of one stage, as they were when they were last looked at."""

    def __init__(self, common: CommonSettings, names: Names, route: Route) -> None:
        self._common = common
        self._names = names
        self._route = route
        self.id = ""
        """What the cluster calls itself, once it was looked at."""
        self._partitions = 0
        self._written: set[Partition] = set()
        self._growth: dict[Partition, tuple[int, Deadline]] = {}

    @property
    def _writes(self) -> list[str]:
        route = self._route
        return [self._names.topic(topic) for topic in (route.rejected, route.failed, route.writes) if topic]

    def check(self) -> None:
        """Raises ConfigurationError unless the topics are there, may be used, and have the same number of partitions;
        BrokerUnreachableError where nobody answers."""
        reads, writes = self._names.topic(self._route.reads), self._writes
        with Admin(self._common.kafka) as admin:
            admin.require_rights(
                {reads: "READ"} | dict.fromkeys(writes, "WRITE"), self._names.group(self._route.worker)
            )
            counts = admin.partition_counts()
            self.id = admin.cluster_id()
            minutes = admin.broker_config("offsets.retention.minutes")
            written = _written(
                admin, [Partition(topic, index) for topic in writes for index in range(counts.get(topic, 0))]
            )
        missing = [topic for topic in (reads, *writes) if topic not in counts]
        if missing:
            raise ConfigurationError(f"topics missing: {', '.join(missing)}: run `imgdiff topics create`")
        for topic in writes:
            if counts[topic] != counts[reads]:
                raise UnevenTopicsError(
                    f"topic {topic} has {counts[topic]} partitions, {reads} has {counts[reads]}: "
                    "all topics of a stream need the same number"
                )
        self._partitions = counts[reads]
        self._written = written
        self._compare_retention(minutes)

    def check_partition(self, partition: Partition, epoch: int) -> None:
        """Look whether a partition that the group gave this worker is in the other topics, too: the transaction of its
        records would else fail for ever.

        Raises TransientError for the first GROWTH_PATIENCE_S of this ownership while it is missing in one of them; then, and
        for everything else, as `check` does.
        """
        if partition.index < self._partitions:
            return
        try:
            self.check()
            if partition.index >= self._partitions:
                raise UnevenTopicsError(
                    f"topic {partition.topic} has {self._partitions} partitions, the group gave out number {partition.index}: "
                    "was the topic made anew with fewer?"
                )
        except UnevenTopicsError as error:
            if self._patience(partition, epoch).expired:
                raise
            raise TransientError(f"{error} (looking again: it may be on its way)") from error

    def worked_on(self, partition: Partition) -> bool:
        """Whether what lay in the stage's topics at the last check was made from records of this partition. Raises KafkaError.

        It is the records that say so: others may write to these topics, too, and what was never committed takes offsets
        there. The dataset writes files: of it only dead letters are seen.
        """
        made_here = f"{partition.topic}/{partition.index}/"
        return any(
            (text_header(record.headers, name) or "").startswith(made_here)
            for topic in self._writes
            for record in self._begin_of(Partition(topic, partition.index))
            for name in (headers.SOURCE, dead_letters.SOURCE)
        )

    def _begin_of(self, output: Partition) -> list[ConsumedRecord]:
        """What is left of the first records; nothing where this user may not read them."""
        if output not in self._written:
            return []
        share = Share(output.index, self._partitions)
        ends = {output: OUTPUTS_LOOKED_AT}
        try:
            return list(read_to_end(self._common.kafka, [output.topic], share=share, ends=ends, silence_s=SILENCE_S))
        except BrokerUnreachableError:
            raise
        except ConfigurationError as error:
            log.warning("what was done of partition %d before is not known: %s", output.index, error)
            return []

    def _patience(self, partition: Partition, epoch: int) -> Deadline:
        """One for each ownership: a partition may go elsewhere before anybody knows how its wait ends."""
        began = self._growth.get(partition)
        if began is None or began[0] != epoch:
            began = self._growth[partition] = epoch, Deadline(GROWTH_PATIENCE_S)
        return began[1]

    def _compare_retention(self, minutes: str | None) -> None:
        kept = self._common.topics.retention_hours
        hours = kept + min(SEGMENT_HOURS, kept) + CLEANING_HOURS
        if minutes is not None and int(minutes) < hours * 60:
            log.warning(
                "the broker forgets the offsets of an idle group after %s minutes (offsets.retention.minutes), records stay "
                "for up to %d hours: a group that is away longer would not know what it has done; give the broker %d minutes",
                minutes,
                hours,
                hours * 60,
            )


def _written(admin: Admin, outputs: Sequence[Partition]) -> set[Partition]:
    """Those that have anything in them; all where that can not be told, such as without a leader."""
    try:
        return {partition for partition, end in admin.end_offsets(outputs).items() if end > 0}
    except KafkaError:
        return set(outputs)
