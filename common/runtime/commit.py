"""The commit thread: the only one that touches the producer. One transaction per batch.

Outputs, dead letters, consumed offsets and counters commit together, or not at all. After any failure nothing in memory
is trusted: a new producer with the same id settles what was open, and everything owned starts again from what is
committed.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from common.kafka import (
    Committed,
    KafkaError,
    Membership,
    Partition,
    ProducerFencedError,
    TransactionalProducer,
)
from common.metrics import TransactionResult, WorkPhase
from common.runtime.circuit import CircuitOpenError
from common.runtime.deadline import Deadline
from common.runtime.errors import ConfigurationError
from common.runtime.exits import FencedError
from common.runtime.failing import FailingTransactions
from common.runtime.faults import Step
from common.runtime.flight import Failed, Fetched, Prepared, Stamp, Tally
from common.runtime.handover import Batch, GivenUp, IdleCommit
from common.runtime.ownership import Progress
from common.runtime.patience import patience_spent
from common.runtime.retry import NotWantedError
from common.runtime.shared import Shared
from schemas.counters import ShardMark

log = logging.getLogger(__name__)

CONNECT_PAUSE_S = 2.0
STABLE_CHECK_S = 0.02

KEPT_S = 12 * 3_600.0
"""How old what was stored for a batch may be when its transaction begins. `imgdiff blobs gc` may remove what nothing refers to
once it is 24 h old, and a picture that was there before may be an hour older than its batch."""


@dataclass(frozen=True, slots=True)
class _Share:
    """One partition's part of a batch, as it will be committed."""

    epoch: int
    prepared: Sequence[Prepared]
    tally: Tally
    progress: Progress
    metadata: str
    mark: ShardMark | None


class Committer:
    """Commits batches."""

    def __init__(
        self,
        shared: Shared,
        connect: Callable[[], TransactionalProducer],
        membership: Callable[[], Membership | None],
    ) -> None:
        self._settings = shared.settings
        self._assignment = shared.assignment
        self._commits = shared.commits
        self._delivery = shared.delivery
        self._retry = shared.retry
        self._faults = shared.faults
        self._health = shared.health
        self._metrics = shared.metrics
        self._watchdog = shared.watchdog
        self._circuit = shared.circuit
        self._connect = connect
        self._membership = membership
        self._producer: TransactionalProducer | None = None
        self._failing = FailingTransactions(shared.settings, shared.health)
        self._stopping = threading.Event()

    def open(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Fence a predecessor and settle what it left open. Raises FencedError or BrokerUnreachableError, and NotWantedError
        where `wanted` turns false while there is no producer yet."""
        deadline = Deadline(self._settings.broker_patience_s)
        while self._producer is None:
            try:
                self._producer = self._connect()
            except ProducerFencedError as error:
                raise _fenced(error) from error
            except KafkaError as error:
                if deadline.expired:
                    raise patience_spent(self._settings, error) from error
                if not wanted():
                    raise NotWantedError("a transactional producer") from error
                log.warning("no transactional producer yet, trying again: %s", error)
                self._health.busy("commit")  # a broker that is away is waited for, each attempt by itself
                self._health.waiting("producer", f"no transactional producer: {error}")
                time.sleep(CONNECT_PAUSE_S)
        self._health.idle("commit")
        self._health.resumed("producer")
        self._commits.settled = True

    def run(self, stopping: threading.Event) -> None:
        """Commit until told to stop. Raises FencedError, which nobody may answer by building another producer, and
        ConfigurationError for what the cluster does not allow."""
        self._stopping = stopping
        while not stopping.is_set():
            self._failing.owned(self._assignment.partitions())
            work = self._commits.get(timeout_s=0.1)
            if work is None:
                continue
            self._health.busy("commit")
            match work:
                case Batch():
                    self._commit_batch(work)
                case GivenUp():
                    self._give_up(work.records)
                case IdleCommit():
                    self._commit_idle(work)
            self._health.idle("commit")

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close()

    def give_up(self) -> None:
        """From any thread: a call of a transaction that waits for the broker fails, and everything owned starts anew."""
        producer = self._producer
        if producer is not None:
            producer.give_up()

    def _commit_batch(self, batch: Batch) -> None:
        prepared = self._stored(batch)
        self._faults.reached(Step.AFTER_STORE)
        try:
            self._circuit.admit(one.outcome for one in prepared)
        except CircuitOpenError as error:
            self._circuit.open(error.alike)
            self._give_up(len(batch.began))
            return
        begun = Counter([fetched.stamp for fetched in batch.began])
        membership = self._stable_membership(begun)
        shares = self._shares(_unbroken(batch.began, prepared)) if membership is not None else {}
        if not shares or membership is None:
            self._metrics.transaction(TransactionResult.SKIPPED)
            self._metrics.dropped(len(batch.began))
        elif time.time() - batch.since > KEPT_S:
            log.warning("a batch waited %.0f h for its commit, it is done again", (time.time() - batch.since) / 3_600)
            self._discard(shares)
            self._give_up(len(batch.began))
        elif self._transact(membership, shares):
            kept = sum(len(share.prepared) for share in shares.values())
            self._metrics.dropped(len(batch.began) - kept)
            self._complete(shares)
        # After a failed transaction these stamps are void already, and nothing is settled.
        for (partition, epoch), count in begun.items():
            self._assignment.settle(partition, epoch, count)

    def _stored(self, batch: Batch) -> list[Prepared]:
        """What the store pool has made of the batch. However much there is to store, each piece is watched over there."""
        self._health.idle("commit")
        with self._metrics.phase(WorkPhase.STORE):
            prepared = [one for future in batch.prepared for one in future.result()]
        self._health.busy("commit")
        return prepared

    def _give_up(self, records: int) -> None:
        """No transaction is open, so what is committed is the truth at once."""
        self._metrics.transaction(TransactionResult.SKIPPED)
        self._metrics.dropped(records)
        self._assignment.restart_all()

    def _stable_membership(self, stamps: Collection[Stamp]) -> Membership | None:
        """The membership to commit under, once the group is stable; None when everything was lost meanwhile.

        Taken before the epochs are looked at: a revoke in between shows in the epochs, a later one in the generation.
        """
        while any(self._assignment.may_commit(partition, epoch) for partition, epoch in stamps):
            membership = self._membership()
            if membership is None or membership.generation < 0 or not membership.member_id:
                log.warning("no transaction: the group took this worker for dead")
                # Not all: the poll thread may have joined again since, and what it was given then is nobody's loss.
                self._assignment.end(stamps)
                return None
            if not membership.lost:
                return membership
            time.sleep(STABLE_CHECK_S)  # a rebalance is going on; partitions that stay ours stay ours
        return None

    def _shares(self, parts: Mapping[Stamp, Sequence[Prepared]]) -> dict[Partition, _Share]:
        """What may be committed, by partition. What the broker would refuse is found here, before a transaction begins."""
        shares: dict[Partition, _Share] = {}
        for (partition, epoch), part in parts.items():
            progress = self._assignment.progress(partition, epoch)
            if progress is None:
                continue
            tally = Tally()
            for one in part:
                tally.add(one.outcome)
            try:
                with self._health.at("shard", instead_of="commit"):
                    mark = self._delivery.seal(partition, part, lambda: self._assignment.wanted(partition, epoch))
            except NotWantedError:
                self._assignment.let_go(partition, epoch)
                continue
            self._faults.reached(Step.AFTER_SEAL)
            metadata = progress.metadata.model_copy(
                update={
                    "counters": progress.metadata.counters + tally.counters(),
                    "shard": mark or progress.metadata.shard,
                }
            )
            shares[partition] = _Share(
                epoch=epoch,
                prepared=part,
                tally=tally,
                progress=Progress(part[-1].fetched.record.offset + 1, metadata),
                metadata=metadata.encode(),
                mark=mark,
            )
        return shares

    def _transact(self, membership: Membership, shares: dict[Partition, _Share]) -> bool:
        """One transaction. False when it failed; everything owned then starts anew. Raises ConfigurationError where a right is
        missing: it would fail for ever."""
        assert self._producer is not None
        started = time.perf_counter()
        decided = False
        try:
            with self._metrics.phase(WorkPhase.COMMIT), self._watchdog:
                self._producer.begin()
                self._faults.reached(Step.AFTER_BEGIN)
                for share in shares.values():
                    for one in share.prepared:
                        for message in one.messages:
                            self._producer.send(message)
                self._faults.reached(Step.AFTER_SENDS)
                self._producer.send_offsets(
                    {p: Committed(share.progress.offset, share.metadata) for p, share in shares.items()}, membership
                )
                self._faults.reached(Step.AFTER_OFFSETS)
                decided = True
                self._producer.commit()
                self._faults.reached(Step.AFTER_COMMIT)
        except Exception as error:
            # A broker that comes back fences who had a transaction open for too long. That is nobody's twin.
            if isinstance(error, ProducerFencedError) and not self._watchdog.broker_was_away:
                raise _fenced(error) from error
            self._metrics.transaction(TransactionResult.FAILED, time.perf_counter() - started)
            if not decided:
                # Past that point the transaction may have taken effect all the same, and its shards are needed.
                self._discard(shares)
            if isinstance(error, ConfigurationError):
                raise
            self._start_anew(shares, error)
            return False
        self._metrics.transaction(TransactionResult.COMMITTED, time.perf_counter() - started)
        for partition, share in shares.items():
            self._assignment.committed(partition, share.epoch, share.progress)
            self._count(share)
        self._failing.succeeded(shares)
        return True

    def _start_anew(self, partitions: Collection[Partition], error: Exception) -> None:
        """The client would send the offsets that were refused again in its next transaction: never use it again."""
        log.warning("transaction failed, starting anew from what is committed: %s: %s", type(error).__name__, error)
        self._commits.settled = False
        self._assignment.restart_all()
        if self._producer is not None:
            broken, self._producer = self._producer, None
            try:
                broken.close()
            except Exception as again:  # it is broken; whatever it says, a new one takes its place
                log.warning("closing the failed producer: %s", again)
        # While nothing is settled no partition starts, so the models do not work for a transaction that would fail again.
        if pause_s := self._failing.failed(partitions, error):
            self._health.idle("commit")
            self._stopping.wait(pause_s)
            self._health.busy("commit")
        self.open()

    def _complete(self, shares: dict[Partition, _Share]) -> None:
        """Finish what the transaction named before the partition's next commit."""
        for partition, share in shares.items():
            if share.mark is None:
                continue
            try:
                with self._health.at("shard", instead_of="commit"):
                    self._retry.run(
                        "finish shard",
                        lambda: self._delivery.complete(partition, share.progress.metadata),
                        lambda: self._assignment.wanted(partition, share.epoch),
                    )
            except NotWantedError:
                # The partition's next owner finishes it first thing. A commit of ours before that would name another shard.
                self._assignment.let_go(partition, share.epoch)
                continue
            self._faults.reached(Step.AFTER_MOVE)

    def _discard(self, shares: dict[Partition, _Share]) -> None:
        for share in shares.values():
            if share.mark is not None:
                self._delivery.discard(share.mark)

    def _commit_idle(self, idle: IdleCommit) -> None:
        progress = self._assignment.progress(idle.partition, idle.epoch)
        if progress is None or progress.offset >= idle.position:
            return
        membership = self._membership()
        if membership is None or membership.lost:
            return
        share = _Share(
            epoch=idle.epoch,
            prepared=(),
            tally=Tally(),
            progress=Progress(idle.position, progress.metadata),
            metadata=progress.metadata.encode(),
            mark=None,
        )
        self._transact(membership, {idle.partition: share})

    def _count(self, share: _Share) -> None:
        now = time.time()
        for one in share.prepared:
            self._metrics.age(now - one.fetched.record.timestamp)
        tally = share.tally
        kinds: dict[tuple[str, str], int] = {}
        for one in share.prepared:
            if isinstance(one.outcome, Failed):
                key = (str(one.outcome.kind), one.outcome.reason)
                kinds[key] = kinds.get(key, 0) + 1
        self._metrics.passed(tally.passed, tally.outputs)
        for reason, count in tally.rejected.items():
            self._metrics.rejected(reason, count)
        for (kind, reason), count in kinds.items():
            self._metrics.failed(kind, reason, count)


def _unbroken(began: Sequence[Fetched], prepared: Sequence[Prepared]) -> dict[Stamp, list[Prepared]]:
    """By ownership, what was prepared up to the first record that was not: no offset may pass a gap."""
    by_record = {id(one.fetched): one for one in prepared}
    parts: dict[Stamp, list[Prepared]] = {}
    broken: set[Stamp] = set()
    for fetched in began:
        one = by_record.get(id(fetched))
        if one is None:
            broken.add(fetched.stamp)
        elif fetched.stamp not in broken:
            parts.setdefault(fetched.stamp, []).append(one)
    return parts


def _fenced(error: Exception) -> FencedError:
    return FencedError(
        "another process uses this worker's transactional id, or a transaction ran longer than "
        f"`runtime.transaction_timeout_s`: {error}"
    )
