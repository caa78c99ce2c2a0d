"""A producer of transactions."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata
from kafka.errors import (
    AuthorizationError,
    InvalidProducerEpochError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFencedError,
)
from kafka.producer.transaction_manager import TransactionState

from common.kafka.client import REQUEST_TIMEOUT_MS, client_config, forbidden, topic_partition
from common.kafka.values import Committed, Membership, Message, Partition
from common.runtime.deadline import Deadline
from common.settings import KafkaSettings
from schemas.topics import MAX_DEAD_LETTER_BYTES

BATCH_BYTES = 262_144
"""Doubles the rate of transactional sends against the default of 16 kB (kafka.md 4)."""

LINGER_MS = 100
"""Longer than the sends of one transaction take, which then leave in few requests; its commit waits for nothing."""

GIVE_UP_CHECK_MS = 200
EPOCH_CHECK_S = 0.02


class RecordRefusedError(KafkaError):  # type: ignore[misc]
    """A record was not taken. Names where it should have gone; the cause is what client or broker said."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # the client's errors begin with their own name


class TransactionalProducer:
    """A producer with one transactional id. One thread may use it; after any failure it has to be closed.

    The calls of a transaction have no time-out of their own: whoever makes them watches them, and may `give_up` on them.
    """

    def __init__(self, settings: KafkaSettings, transactional_id: str, transaction_timeout_s: float) -> None:
        self._producer = KafkaProducer(
            transactional_id=transactional_id,
            client_id=transactional_id,
            transaction_timeout_ms=int(transaction_timeout_s * 1_000),
            acks="all",
            batch_size=BATCH_BYTES,
            linger_ms=LINGER_MS,
            max_request_size=MAX_DEAD_LETTER_BYTES,
            max_block_ms=REQUEST_TIMEOUT_MS,
            delivery_timeout_ms=2 * REQUEST_TIMEOUT_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **client_config(settings),
        )
        self._pending: list[tuple[Message, Any]] = []
        self._settings = settings
        self._given_up = threading.Event()
        try:
            # Fences a predecessor with the same id and settles what it left open.
            self._producer.init_transactions()
        except AuthorizationError as error:
            self._producer.close(timeout=1)
            raise forbidden(settings, error, f"WRITE transactional id {transactional_id}") from error
        except BaseException:
            self._producer.close(timeout=1)
            raise

    def begin(self) -> None:
        self._pending = []
        self._producer.begin_transaction()

    def send(self, message: Message) -> None:
        """Raises KafkaError or ValueError for a record that can not be sent; the transaction must then be aborted."""
        with self._reasons_told():
            try:
                sent = self._producer.send(
                    message.topic,
                    key=message.key,
                    value=message.value,
                    headers=list(message.headers),
                    partition=message.partition,
                )
            except KafkaError as error:
                raise _refused([message], error) from error
            self._pending.append((message, sent))

    def send_offsets(self, offsets: Mapping[Partition, Committed], membership: Membership) -> None:
        """Raises CommitFailedError when the member was evicted meanwhile."""
        self._send_offsets(offsets, membership.client_metadata)

    def send_offsets_of(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Offsets of a group that has no members: only the owner of this transactional id may commit for it."""
        self._send_offsets({partition: Committed(offset, "") for partition, offset in offsets.items()}, group)

    def _send_offsets(self, offsets: Mapping[Partition, Committed], group: Any) -> None:
        """`group` as the client takes it: by its name, or with who this member is in it."""
        marked = {
            topic_partition(partition): OffsetAndMetadata(committed.offset, committed.metadata, -1)
            for partition, committed in offsets.items()
        }
        with self._reasons_told():
            self._await(self._producer._transaction_manager.send_offsets_to_transaction(marked, group))

    def commit(self) -> None:
        """Raises KafkaError; whether the transaction took effect is then known only to the committed offsets.

        Raises ProducerFencedError where another producer has taken the transactional id.
        """
        with self._reasons_told():
            # Left to itself the client begins a flush at the first commit and never ends it: from then on every record
            # counts as due at once, whatever the linger.
            self._producer.flush()
            self._raise_refusal()
            self._await(self._producer._transaction_manager.begin_commit())
            self._raise_refusal()
        self._pending = []

    def abort(self) -> None:
        self._producer.abort_transaction()

    def give_up(self) -> None:
        """From any thread: a call that waits for the broker's answer raises KafkaTimeoutError."""
        self._given_up.set()

    def _await(self, result: Any) -> None:
        """What the client's own calls do with a request, which wait for ever: where the broker went away with the request
        the client may never send it again."""
        self._producer._sender.wakeup()
        while not result.wait(timeout_ms=GIVE_UP_CHECK_MS):
            if self._given_up.is_set():
                raise KafkaTimeoutError("the broker is there again and the request was never answered")

    @contextmanager
    def _reasons_told(self) -> Iterator[None]:
        """A client that has learned that it was fenced says of every call since only that something went wrong before.

        An epoch that is not valid any more is the same news, on the way of a record. The client may have got a new epoch
        since and have forgotten what was wrong: the broker gives it one as long as the other has not asked a second time.

        What the access lists do not allow is a ConfigurationError.
        """
        try:
            yield
        except KafkaError as error:
            said = error.__cause__ if isinstance(error, RecordRefusedError) else error
            known = (said, self._settled_error(), *(refusal for _, refusal in self._refusals()))
            if any(isinstance(one, ProducerFencedError | InvalidProducerEpochError) for one in known):
                raise ProducerFencedError(f"fenced: {error}") from error
            if isinstance(said, AuthorizationError):
                raise forbidden(self._settings, said, f"do this ({error})") from error
            raise

    def _settled_error(self) -> BaseException | None:
        """What the client knows to be wrong. While it asks for a new epoch, as it does where its own is refused, the broker
        is yet to say whether somebody else has the id."""
        manager = self._producer._transaction_manager
        deadline = Deadline(REQUEST_TIMEOUT_MS / 1_000)
        while manager._current_state is TransactionState.BUMPING_PRODUCER_EPOCH and not deadline.expired:
            time.sleep(EPOCH_CHECK_S)
        error: BaseException | None = manager.last_error
        return error

    def _raise_refusal(self) -> None:
        """Raises RecordRefusedError where a record was not taken."""
        refusals = list(self._refusals())
        if refusals:
            _, first = refusals[0]
            raise _refused([message for message, _ in refusals], first) from first

    def _refusals(self) -> Iterator[tuple[Message, BaseException]]:
        """The records that were refused so far, in order, each with what it was refused with."""
        return ((message, sent.exception) for message, sent in self._pending if sent.failed())

    def close(self, timeout_s: float = 1.0) -> None:
        """Records that have not left yet never do: no transaction would commit them."""
        # The client would wait for these records and, where they do not leave in time, raise and keep its thread.
        self._producer._sender.force_close()
        with suppress(KafkaTimeoutError):
            self._producer.close(timeout=timeout_s)


def _refused(messages: Sequence[Message], error: BaseException) -> RecordRefusedError:
    """Once one record is refused the client refuses what has not left yet, with the same words."""
    said = ": ".join([type(error).__name__, *(str(argument) for argument in error.args if argument is not None)])
    if isinstance(error, MessageSizeTooLargeError):
        largest = max(messages, key=lambda message: message.size)
        return RecordRefusedError(
            f"topic {largest.topic}, partition {largest.partition}: does not take a record of {largest.size} bytes "
            f"(`max.message.bytes` of the topic): {said}"
        )
    return RecordRefusedError(f"topic {', '.join(sorted({message.topic for message in messages}))}: {said}")
