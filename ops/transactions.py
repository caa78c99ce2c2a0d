"""Transactions of a command: all of its messages or none, with the time-out that the client's calls do not have.

A command takes its transactional id over before it reads where it stands. What a predecessor left open is settled by
then, and a second command with the same id takes it away from the first, which then ends.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from common.kafka import Admin, KafkaError, Message, Partition, ProducerFencedError, TransactionalProducer
from common.runtime.errors import ConfigurationError
from common.runtime.exits import FencedError
from common.runtime.faults import Faults, Step
from common.settings import CommonSettings

T = TypeVar("T")


class InterruptedRunError(Exception):
    """Kafka failed in mid-run. What was committed stays; the message says that the same command goes on from there."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Runs actions on Kafka, and turns what fails into errors that say what to do."""

    common: CommonSettings
    subject: str
    """What the command is at work on: errors begin with it."""
    rival: str
    """What has happened when the transactional id was taken away, as a clause."""

    def run(self, action: Callable[[], T]) -> T:
        """The action's result. Raises FencedError, or InterruptedRunError when Kafka fails or does not answer."""
        patience_s = self.common.runtime.broker_patience_s
        try:
            return _within(patience_s, action)
        except ProducerFencedError as error:
            raise FencedError(
                f"{self.subject}: {self.rival}, or a transaction took longer than "
                f"`runtime.transaction_timeout_s`: {error}"
            ) from error
        except TimeoutError as error:
            raise InterruptedRunError(
                f"{self.subject}: Kafka at {self.common.kafka.bootstrap_servers} has not answered for {patience_s:.0f} s "
                "(setting `runtime.broker_patience_s`); run the command again to go on"
            ) from error
        except KafkaError as error:
            raise InterruptedRunError(
                f"{self.subject}: {type(error).__name__}: {error}; run the command again to go on"
            ) from error


class Transactions:
    """Commits messages, each list of them whole or not at all."""

    def __init__(self, producer: TransactionalProducer, guard: Guard, faults: Faults) -> None:
        self._producer = producer
        self._guard = guard
        self._faults = faults

    def commit(
        self, messages: Sequence[Message], group: str | None = None, offsets: Mapping[Partition, int] | None = None
    ) -> None:
        """Send the messages, and with them how far `group` has read. Raises as `Guard.run` does."""
        self._guard.run(lambda: self._transact(messages, group, offsets or {}))

    def _transact(self, messages: Sequence[Message], group: str | None, offsets: Mapping[Partition, int]) -> None:
        self._producer.begin()
        try:
            self._faults.reached(Step.AFTER_BEGIN)
            for message in messages:
                self._producer.send(message)
            self._faults.reached(Step.AFTER_SENDS)
            if group is not None and offsets:
                self._producer.send_offsets_of(group, offsets)
                self._faults.reached(Step.AFTER_OFFSETS)
            self._producer.commit()
            self._faults.reached(Step.AFTER_COMMIT)
        except ProducerFencedError:
            raise
        except (KafkaError, ConfigurationError):
            # An open transaction would hold up every reader of these partitions until its time-out.
            with suppress(KafkaError):
                self._producer.abort()
            raise


@contextmanager
def transactions(guard: Guard, transactional_id: str, faults: Faults) -> Iterator[Transactions]:
    """Take the transactional id over, for as long as the block runs. Raises as `Guard.run` does."""
    timeout_s = guard.common.runtime.transaction_timeout_s
    producer = guard.run(lambda: TransactionalProducer(guard.common.kafka, transactional_id, timeout_s))
    try:
        yield Transactions(producer, guard, faults)
    finally:
        producer.close()


def partitions_of(common: CommonSettings, topics: Sequence[str]) -> dict[str, int]:
    """How many partitions each topic has. Raises ConfigurationError when no broker answers or one is not there."""
    with Admin(common.kafka) as admin:
        existing = admin.partition_counts(topics)
    missing = [name for name in topics if name not in existing]
    if missing:
        raise ConfigurationError(
            f"no topic {', '.join(missing)} at {common.kafka.bootstrap_servers}: "
            "create the topics with `imgdiff topics create`"
        )
    return {name: existing[name] for name in topics}


def _within(seconds: float, action: Callable[[], T]) -> T:
    """The action's result. Raises TimeoutError after `seconds`; the thread that hangs ends with the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="kafka", daemon=True).start()
    return future.result(timeout=seconds)
