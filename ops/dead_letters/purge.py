"""Dead letters deleted. Kafka deletes only what lies at the beginning of a partition, so only that is offered."""

from collections import Counter
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
    covers and that have to stay, because one that it does not cover lies before them. `unmeasured` of the covered ones
    lack a score that the filter's condition asks for: `not` and `or` cover such, too."""

    partition: Partition
    before: int
    covered: int
    behind: int
    unmeasured: int


def plan_purge(common: CommonSettings, wanted: Filter) -> Sequence[PartitionPurge]:
    """For each partition that holds any: the longest beginning in which the filter covers every dead letter."""
    names = Names(common.prefix)
    asked = wanted.where.names() if wanted.where else frozenset()
    plans = []
    for name in wanted.topics():
        topic = names.topic(name)
        open_, before = dict[int, bool](), dict[int, int]()
        covered, behind, unmeasured = Counter[int](), Counter[int](), Counter[int]()
        for record in read_to_end(common.kafka, [topic]):
            index = record.partition.index
            letter = found_letter(name, record).letter
            if not wanted.wants(letter, record.key):
                open_[index] = False
            elif open_.setdefault(index, True):
                before[index] = record.offset + 1
                covered[index] += 1
                unmeasured[index] += letter is not None and not asked <= letter.scores.keys()
            else:
                behind[index] += 1
        plans += [
            PartitionPurge(
                Partition(topic, index), before.get(index, 0), covered[index], behind[index], unmeasured[index]
            )
            for index in sorted(open_)
            if covered[index] or behind[index]
        ]
    return plans


def purge(common: CommonSettings, plans: Sequence[PartitionPurge]) -> int:
    """Delete what the plans cover, for good; how many dead letters that were."""
    with Admin(common.kafka) as admin:
        admin.delete_records({plan.partition: plan.before for plan in plans if plan.covered})
    return sum(plan.covered for plan in plans)
