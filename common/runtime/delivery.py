"""Where outcomes go. Most workers write records to the next topic; the sink writes shards of a dataset."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from common.blobs import Blobs
from common.kafka import Message, Partition
from common.runtime.execution import error_info
from common.runtime.flight import Failed, Fetched, Finished, Outcome, Prepared
from common.runtime.retry import NotWantedError, Retry
from common.runtime.stage import Emit, Reject
from common.secrets import SECRETS
from schemas import codec, headers
from schemas.codec import MAX_RECORD_BYTES
from schemas.counters import OffsetMetadata, ShardMark
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo, PoisonReason, attempt_of, input_headers
from schemas.headers import OutcomePart, SourceCoordinates
from schemas.images import ImageRef
from schemas.record import Record
from schemas.topics import MAX_DEAD_LETTER_BYTES, Names, Route
from schemas.trail import ModelId, TrailStep


class Delivery(Protocol):
    """What happens to outcomes between the stage and the transaction, and right after it."""

    def prepare(self, finished: Finished, wanted: Callable[[], bool]) -> Prepared:
        """Store what is new and make the messages. Called by several threads.

        Raises NotWantedError when the store is unreachable and the record's partition goes elsewhere, MemoryError when there
        is no room for it now.
        """
        ...

    def seal(self, partition: Partition, prepared: Sequence[Prepared], wanted: Callable[[], bool]) -> ShardMark | None:
        """Write what this partition's part of a batch makes besides messages; the transaction will name it."""
        ...

    def discard(self, mark: ShardMark) -> None:
        """The transaction that should have named this mark did not happen."""
        ...

    def complete(self, partition: Partition, metadata: OffsetMetadata) -> None:
        """Finish what the committed metadata names, whoever began it. Repeatable. Raises TransientError."""
        ...


@dataclass(frozen=True, slots=True)
class Signature:
    """What a worker writes into the trail and the headers of everything that it makes."""

    worker: str
    version: str
    settings_digest: str
    models: tuple[ModelId, ...]

    @property
    def header(self) -> str:
        return f"{self.worker}/{self.version}"


class TopicDelivery:
    """Records to the next topic, pictures into the object store."""

    def __init__(self, route: Route, names: Names, signature: Signature, blobs: Blobs, retry: Retry) -> None:
        self._writes = route.writes
        self._output_topic = names.topic(route.writes) if route.writes else ""
        self._dead_letters = DeadLetterWriter(route, names, signature)
        self._signature = signature
        self._worker = signature.header.encode()
        self._blobs = blobs
        self._retry = retry

    def prepare(self, finished: Finished, wanted: Callable[[], bool]) -> Prepared:
        outcome = finished.outcome
        try:
            if isinstance(outcome, Emit):
                return Prepared(finished, outcome, self._messages(finished, outcome, wanted))
            return Prepared(finished, outcome, [self._dead_letters.message(finished.fetched, outcome)])
        except (NotWantedError, MemoryError):
            raise
        except _OutputTooLargeError as error:
            failed = Failed(DeadLetterKind.POISON, PoisonReason.OUTPUT_TOO_LARGE, detail=str(error))
        except Exception as error:
            failed = Failed(DeadLetterKind.POISON, PoisonReason.EXCEPTION, error=error_info(error))
        return Prepared(finished, failed, [self._dead_letters.message(finished.fetched, failed)])

    def seal(self, partition: Partition, prepared: Sequence[Prepared], wanted: Callable[[], bool]) -> ShardMark | None:
        return None

    def discard(self, mark: ShardMark) -> None:
        raise NotImplementedError("only a sink writes shards")

    def complete(self, partition: Partition, metadata: OffsetMetadata) -> None:
        pass

    def _messages(self, finished: Finished, emit: Emit[Any], wanted: Callable[[], bool]) -> list[Message]:
        stored = {
            name: self._retry.run("store images", lambda: self._blobs.put_image(image), wanted)
            for name, image in emit.images.items()
        }
        return [self._message(finished, emit, index, stored) for index in range(len(emit.records))]

    def _trail_step(self, finished: Finished, emit: Emit[Any], index: int) -> TrailStep:
        return TrailStep(
            stage=self._signature.worker,
            worker_version=self._signature.version,
            settings_digest=self._signature.settings_digest,
            models=self._signature.models,
            seed=emit.seed_of(index),
            batch_size=finished.batch_size,
            seconds=finished.seconds,
            finished_at=finished.finished_at,
            scores=emit.scores_of(index),
            dropped=tuple(emit.dropped) if index == 0 else (),
            truth=dict(emit.truth_of(index)),
        )

    def _message(self, finished: Finished, emit: Emit[Any], index: int, stored: Mapping[str, ImageRef]) -> Message:
        record: Record = emit.records[index]
        if record.topic != self._writes:
            raise TypeError(f"the stage made a {record.schema_name()} record, its topic is {self._writes}")
        step = self._trail_step(finished, emit, index)
        completed = record.with_images(stored).model_copy(update={"trail": (*record.trail, step)})
        source = finished.fetched.record
        part = OutcomePart(index, len(emit.records))
        message = Message(
            topic=self._output_topic,
            key=record.caption_id.encode(),
            value=codec.encode(completed),
            headers=[
                (headers.SCHEMA, record.schema_name().encode()),
                (headers.SOURCE, str(coordinates(finished.fetched)).encode()),
                (headers.OUTCOME, str(part).encode()),
                (headers.WORKER, self._worker),
                (headers.TRACEPARENT, child_traceparent(source.headers, record).encode()),
            ],
            # Equal partition counts keep a caption's records in one partition, and a batch in few partitions.
            partition=source.partition.index,
        )
        if message.size > MAX_RECORD_BYTES:
            raise _OutputTooLargeError(f"{record.schema_name()} of {message.size} bytes, at most {MAX_RECORD_BYTES}")
        return message


class DeadLetterWriter:
    """Makes dead letters: the input byte for byte, and why it ended."""

    def __init__(self, route: Route, names: Names, signature: Signature) -> None:
        self._topics = {True: names.topic(route.rejected), False: names.topic(route.failed)}
        self._signature = signature

    def message(self, fetched: Fetched, outcome: Outcome) -> Message:
        """The dead letter of an input that was rejected or failed."""
        source = fetched.record
        letter = DeadLetter(
            kind=outcome.kind if isinstance(outcome, Failed) else DeadLetterKind.REJECTED,
            reason=_reason_of(outcome),
            source=coordinates(fetched),
            source_timestamp=source.timestamp,
            worker=self._signature.header,
            settings_digest=self._signature.settings_digest,
            attempt=attempt_of(source.headers),
            failed_at=time.time(),
            detail="" if isinstance(outcome, Emit) else SECRETS.hidden_in(outcome.detail),
            scores=outcome.scores if isinstance(outcome, Reject) else {},
            candidates=outcome.dropped if isinstance(outcome, Reject) else (),
            error=_without_secrets(outcome.error) if isinstance(outcome, Failed) and outcome.error else None,
        )
        whole = Message(
            topic=self._topics[isinstance(outcome, Reject)],
            key=source.key,
            # The client can not send a record that has neither key nor value.
            value=b"" if source.value is None and source.key is None else source.value,
            headers=[*input_headers(source.headers), *letter.headers()],
            partition=source.partition.index,
        )
        if whole.size <= MAX_DEAD_LETTER_BYTES:
            return whole
        # Compressed, or on a topic that somebody reconfigured, an input can be larger; it stays where it came from.
        without_value = replace(whole, value=b"")
        if without_value.size <= MAX_DEAD_LETTER_BYTES:
            return without_value
        return replace(without_value, key=None, headers=letter.headers())


def _without_secrets(error: ErrorInfo) -> ErrorInfo:
    return ErrorInfo(error.class_name, SECRETS.hidden_in(error.message), SECRETS.hidden_in(error.traceback))


class _OutputTooLargeError(Exception):
    """A stage made a record that no topic takes."""


def coordinates(fetched: Fetched) -> SourceCoordinates:
    """Where an input lies."""
    record = fetched.record
    return SourceCoordinates(record.partition.topic, record.partition.index, record.offset)


def child_traceparent(parent: headers.Headers, record: Record) -> str:
    """The W3C trace context of a record: its input's trace, a span of its own. One trace is one caption's way."""
    span = hashlib.sha256(record.id.encode()).hexdigest()[:16]
    given = headers.text_header(parent, headers.TRACEPARENT) or ""
    fields = given.split("-")
    if len(fields) == 4 and len(fields[1]) == 32 and set(fields[1]) <= set("0123456789abcdef"):
        return f"00-{fields[1]}-{span}-01"
    return f"00-{hashlib.sha256(record.caption_id.encode()).hexdigest()[:32]}-{span}-01"


def _reason_of(outcome: Outcome) -> str:
    if isinstance(outcome, Emit):
        raise TypeError("an input that passes on has no dead letter")
    return str(outcome.reason)
