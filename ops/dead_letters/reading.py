"""Dead letters from their topics, one at a time."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from common.kafka import EVERYTHING, Admin, ConsumedRecord, Partition, Share, read_to_end
from common.settings import CommonSettings
from ops.dead_letters.filters import Filter
from ops.dead_letters.records import record_of
from schemas.dead_letters import DeadLetter, DeadLetterKind
from schemas.headers import SourceCoordinates
from schemas.invalid import InvalidRecord
from schemas.record import Record
from schemas.topics import INGEST, ROUTES, Names

_NOWHERE = sys.maxsize
"""An offset that lies behind every log's end: nothing of that partition is read."""


class NoSuchLetterError(Exception):
    """Nothing lies where somebody looked for a dead letter; the message says where that was."""


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A dead letter where it lies. `letter` is None when its headers are broken, and `problem` says how."""

    stage: str
    at: SourceCoordinates
    raw: ConsumedRecord
    letter: DeadLetter | None
    problem: str | None = None

    def record(self) -> Record:
        """The input. Raises InvalidRecord when its bytes are no record of the topic that the stage reads."""
        return record_of(self.stage, self.raw)

    def to_json(self) -> dict[str, Any]:
        """What a list says about it."""
        letter = self.letter
        if letter is None:
            return {
                "stage": self.stage, "kind": None, "reason": None, "attempt": None, "id": self._id(),
                "caption_id": self.caption_id, "scores": {}, "source": None, "failed_at": None, "error": self.problem,
            }  # fmt: skip
        return {
            "stage": self.stage,
            "kind": str(letter.kind),
            "reason": letter.reason,
            "attempt": letter.attempt,
            "id": self._id(),
            "caption_id": self.caption_id,
            "scores": {
                name: {"value": score.value, **score.bounds.model_dump(mode="json"), "passes": score.passes}
                for name, score in letter.scores.items()
            },
            "source": {
                "topic": letter.source.topic,
                "partition": letter.source.partition,
                "offset": letter.source.offset,
            },
            "failed_at": letter.failed_at,
            "error": self.error,
        }

    @property
    def caption_id(self) -> str | None:
        """The id of the caption that the input comes from: its key. None where that is no text."""
        try:
            return None if self.raw.key is None else self.raw.key.decode()
        except UnicodeDecodeError:
            return None

    @property
    def error(self) -> str | None:
        """What went wrong, in a line; None for a rejection, which is no error."""
        letter = self.letter
        if letter is None:
            return self.problem
        if letter.error is not None:
            return f"{letter.error.class_name}: {letter.error.message}"
        return None if letter.kind is DeadLetterKind.REJECTED else letter.detail or None

    def _id(self) -> str | None:
        try:
            return self.record().id
        except InvalidRecord:
            return None


def find_letters(
    settings: CommonSettings, wanted: Filter, *, with_candidates: bool = True, share: Share = EVERYTHING
) -> Iterator[FoundLetter]:
    """The wanted dead letters of a share of the partitions, topic by topic in the order of the stream, and in each by
    partition and offset.

    Raises ConfigurationError when a topic does not exist.
    """
    names = Names(settings.prefix)
    for record in read_to_end(settings.kafka, [names.topic(topic) for topic in wanted.topics()], share=share):
        topic = names.plain_topic(record.partition.topic)
        found = found_letter(topic, record, with_candidates=with_candidates)
        if wanted.wants(found.letter, record.key):
            yield found


def first_letters(settings: CommonSettings, wanted: Filter, limit: int | None) -> Iterator[FoundLetter]:
    """At most `limit` of the wanted dead letters. What comes after them is not read."""
    return islice(find_letters(settings, wanted), limit)


def letter_at(settings: CommonSettings, where: SourceCoordinates) -> FoundLetter:
    """The dead letter that lies at `where`, or that was made of the input at `where`; a topic's prefix may be left out. An
    item of ingest lies in its source.

    Raises NoSuchLetterError.
    """
    names = Names(settings.prefix)
    topic = names.plain_topic(where.topic)
    if topic.startswith(f"{INGEST}/"):
        return _of_source(settings, where)
    holders = {route.reads: (route.rejected, route.failed) for route in ROUTES}
    if topic in Filter().topics():
        at = Partition(names.topic(topic), where.partition)
        for record in _one_partition(settings, at, where.offset):
            if record.offset == where.offset:
                return found_letter(topic, record)
            break
        raise NoSuchLetterError(f"no record at {where}: the topic does not have it (any more)")
    for holder in holders.get(topic, ()):
        # A dead letter lies in the partition with its input's number.
        for record in _one_partition(settings, Partition(names.topic(holder), where.partition), 0):
            found = found_letter(holder, record)
            source = found.letter and found.letter.source
            if source and names.plain_topic(source.topic) == topic and source.offset == where.offset:
                return found
    if topic in holders:
        raise NoSuchLetterError(f"no dead letter of {where}: not in {' or '.join(holders[topic])}")
    raise NoSuchLetterError(
        f"topic {where.topic}: expected one of {', '.join([*holders, *Filter().topics()])}, with or without prefix, or "
        f"{INGEST}/SOURCE"
    )


def _of_source(settings: CommonSettings, where: SourceCoordinates) -> FoundLetter:
    """A source has one partition, and its dead letters lie in any of the topic's."""
    for found in find_letters(settings, Filter(stage=INGEST)):
        if found.letter is not None and found.letter.source == where:
            return found
    raise NoSuchLetterError(f"no dead letter of {where}: not in {INGEST}.failed")


def _one_partition(settings: CommonSettings, partition: Partition, offset: int) -> Iterator[ConsumedRecord]:
    with Admin(settings.kafka) as admin:
        count = admin.partition_counts().get(partition.topic, 0)
    if partition.index >= count:
        raise NoSuchLetterError(
            f"topic {partition.topic} has {count} partitions, not one with number {partition.index}"
        )
    start = {Partition(partition.topic, index): _NOWHERE for index in range(count)} | {partition: offset}
    return read_to_end(settings.kafka, [partition.topic], start=start)


def found_letter(topic: str, record: ConsumedRecord, *, with_candidates: bool = True) -> FoundLetter:
    """What a record of a dead-letter topic says; `topic` is its name without prefix."""
    stage = topic.rpartition(".")[0]
    at = SourceCoordinates(record.partition.topic, record.partition.index, record.offset)
    try:
        return FoundLetter(stage, at, record, DeadLetter.parse(record.headers, with_candidates=with_candidates))
    except ValueError as error:
        return FoundLetter(stage, at, record, None, str(error))
