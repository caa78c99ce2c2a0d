"""Dead letters deleted. Kafka deletes only what lies at the beginning of a partition, so only that is offered."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.kafka import Admin, Partition, read_to_end
from common.settings import CommonSettings
from ops.dead_letters.filters import Filter
from ops.dead_letters.reading import found_letter
from schemas.topics import Names


@dataclass(frozen=True, slots=True)
class PartitionPurge:
    """What can go of one partition: `covered` dead letters before offset `before`. `behind` are those that the filter
    covers and that have to stay, because one that it does not cover lies before them."""

    partition: Partition
    before: int
    covered: int
    behind: int


def plan_purge(common: CommonSettings, wanted: Filter) -> Sequence[PartitionPurge]:
    """For each partition that holds any: the longest beginning in which the filter covers every dead letter."""
    names = Names(common.prefix)
    plans = []
    for name in wanted.topics():
        topic = names.topic(name)
        open_, before, covered, behind = dict[int, bool](), dict[int, int](), dict[int, int](), dict[int, int]()
        for record in read_to_end(common.kafka, [topic]):
            index = record.partition.index
            if wanted.wants(found_letter(name, record).letter, record.key):
                if open_.setdefault(index, True):
                    before[index] = record.offset + 1
                    covered[index] = covered.get(index, 0) + 1
                else:
                    behind[index] = behind.get(index, 0) + 1
            else:
                open_[index] = False
        plans += [
            PartitionPurge(Partition(topic, index), before.get(index, 0), covered.get(index, 0), behind.get(index, 0))
            for index in sorted(open_)
            if covered.get(index, 0) or behind.get(index, 0)
        ]
    return plans


def purge(common: CommonSettings, plans: Sequence[PartitionPurge]) -> int:
    """Delete what the plans cover, for good; how many dead letters that were."""
    with Admin(common.kafka) as admin:
        admin.delete_records({plan.partition: plan.before for plan in plans if plan.covered})
    return sum(plan.covered for plan in plans)
