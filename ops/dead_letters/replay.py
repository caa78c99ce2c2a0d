"""Dead letters sent again: each a copy of the original bytes to the topic that its stage reads.

Copies, their coordinates, the job's state and its offsets are one transaction.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.metadata import version
from uuid import uuid4

from common.kafka import Admin, ConsumedRecord, Message, Partition, read_to_end
from common.runtime.faults import Faults
from common.settings import CommonSettings
from ops.dead_letters.filters import Filter
from ops.dead_letters.reading import FoundLetter, found_letter
from ops.dead_letters.replay_log import ReplayLog, log_message
from ops.dead_letters.what_if import would_pass
from ops.transactions import Guard, Transactions, partitions_of, transactions
from ops.unattended import never, no_report
from schemas.codec import MAX_RECORD_BYTES
from schemas.dead_letters import ATTEMPT, DeadLetter, input_headers
from schemas.replays import Replayed, ReplayJob
from schemas.scores import Bounds
from schemas.topics import REPLAY, ROUTES, Names, Route

BATCH = 500
"""The most copies of a transaction."""
BATCH_BYTES = 8 * 1024 * 1024
"""Of copies in a transaction; the last one may be larger."""
SCANNED = 20_000
"""The most dead letters that are looked at before what they came to is committed."""
PAUSE_S = 0.1


class Refusal(StrEnum):
    """Why a dead letter that was asked for is not sent again."""

    MAX_ATTEMPTS = "max_attempts"
    """It has been tried as often as `--max-attempts` allows."""
    UNREADABLE = "unreadable"
    """Its headers are broken: nobody knows where it came from."""
    FOREIGN = "foreign"
    """Its headers name another input than this stage's, or a partition that is not there."""
    NO_VALUE = "no_value"
    """The bytes of the input are not in it: they were too large for a dead letter, or there were none."""
    TOO_LARGE = "too_large"
    """With the number of the attempt it is larger than its topic takes."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What somebody wants to be sent again. `wanted` names a stage that reads records.

    `asked` is the request as it was written, by which an unfinished job is found again. With `passing` only those go whose
    scores pass these bounds; with `again` also those that have been sent before; at most `limit`.
    """

    wanted: Filter
    asked: str
    max_attempts: int
    again: bool = False
    limit: int | None = None
    passing: Mapping[str, Bounds] | None = None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A job as this run leaves it; the counts are the job's. `resumed` says that an earlier run began it."""

    job: str
    stage: str
    sent: int
    already_sent: int
    refused: Mapping[str, int]
    complete: bool
    resumed: bool
    dry_run: bool = False


@dataclass(slots=True)
class _Batch:
    """What one transaction will say."""

    copies: list[Message] = field(default_factory=list)
    entries: list[Replayed] = field(default_factory=list)
    already_sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    offsets: dict[Partition, int] = field(default_factory=dict)
    scanned: int = 0
    size: int = 0


class Replay:
    """Sends dead letters of one stage again."""

    def __init__(
        self,
        common: CommonSettings,
        request: ReplayRequest,
        *,
        rate: float | None = None,
        faults: Faults | None = None,
        stopping: Callable[[], bool] = never,
        report: Callable[[ReplayJob], None] = no_report,
    ) -> None:
        """`rate` is in records per second. Raises ConfigurationError when no broker answers or the topics are not there."""
        self._common = common
        self._request = request
        self._rate = rate
        self._faults = faults or Faults([])
        self._stopping = stopping
        self._report = report
        self._names = Names(common.prefix)
        self._route = _route_of(request.wanted)
        self._worker = f"{REPLAY}/{version('imgdiff')}"
        self._dead_letters = [self._names.topic(name) for name in request.wanted.topics()]
        self._guard = Guard(common, self._route.worker, "another replay of this stage has begun")
        reads, replayed = self._names.topic(self._route.reads), self._names.topic(self._route.replayed)
        self._partitions = partitions_of(common, [*self._dead_letters, reads, replayed])

    def dry_run(self) -> ReplayResult:
        """What a run would do. Nothing is written, and a replay that is at work goes on."""
        log = ReplayLog.read(self._common.kafka, self._names, self._route)
        job, resumed, start = self._job(log)
        for batch in self._batches(log, job, start):
            job = _advanced(job, batch)
        return self._result(job.model_copy(update={"complete": True}), resumed, dry_run=True)

    def run(self) -> ReplayResult:
        """Send what is wanted, or go on with the unfinished job that was asked for the same.

        Raises FencedError when another replay of this stage began meanwhile, InterruptedRunError when Kafka fails.
        """
        transactional_id = self._names.transactional_id(REPLAY, self._route.worker)
        with transactions(self._guard, transactional_id, self._faults) as writer:
            log = self._guard.run(lambda: ReplayLog.read(self._common.kafka, self._names, self._route))
            job, resumed, start = self._job(log)
            if not resumed:
                self._commit(writer, _Batch(), job)
            return self._result(self._send(writer, log, job, start), resumed)

    def _send(self, writer: Transactions, log: ReplayLog, job: ReplayJob, start: Mapping[Partition, int]) -> ReplayJob:
        began, sent_before = time.monotonic(), job.sent
        self._report(job)
        for batch in self._batches(log, job, start):
            job = _advanced(job, batch)
            self._commit(writer, batch, job)
            self._report(job)
            if self._stopping() or not self._keep_pace(began, job.sent - sent_before):
                return job
        job = job.model_copy(update={"complete": True})
        self._commit(writer, _Batch(offsets=self._ends(job) if self._request.limit is None else {}), job)
        return job

    def _job(self, log: ReplayLog) -> tuple[ReplayJob, bool, Mapping[Partition, int]]:
        """The job, whether it was there, and where it stands."""
        found = log.unfinished(self._request.asked)
        with Admin(self._common.kafka) as admin:
            if found is not None:
                group = self._group(found)
                standing = admin.group_offsets([group])[group]
                # Other jobs may have sent some since this one stopped.
                job = found.model_copy(update={"total": log.total})
                return job, True, {partition: committed.offset for partition, committed in standing.items()}
            names = self._request.wanted.topics()
            ends = {
                name: admin.end_offsets([Partition(topic, index) for index in range(self._partitions[topic])])
                for name, topic in zip(names, self._dead_letters, strict=True)
            }
        identity = uuid4().hex[:8]
        job = ReplayJob(
            id=identity,
            caption_id=identity,
            asked=self._request.asked,
            since=self._request.wanted.since,
            until=self._request.wanted.until,
            ends={name: tuple(found[p] for p in sorted(found)) for name, found in ends.items()},
            started_at=time.time(),
            total=log.total,
        )
        return job, False, {}

    def _batches(self, log: ReplayLog, job: ReplayJob, start: Mapping[Partition, int]) -> Iterator[_Batch]:
        # Times such as `2h` mean what they meant when the job began.
        wanted = replace(self._request.wanted, since=job.since, until=job.until)
        size = BATCH if self._rate is None else max(1, min(BATCH, int(self._rate)))
        left = None if self._request.limit is None else self._request.limit - job.sent
        batch = _Batch()
        for record in self._read(job, start):
            if left is not None and left <= 0:
                break
            batch.scanned += 1
            batch.offsets[record.partition] = record.offset + 1
            found = found_letter(self._names.plain_topic(record.partition.topic), record)
            if wanted.wants(found.letter, record.key) and self._take(found, log, job, batch) and left is not None:
                left -= 1
            if len(batch.copies) >= size or batch.size >= BATCH_BYTES or batch.scanned >= SCANNED:
                yield batch
                batch = _Batch()
        if batch.scanned:
            yield batch

    def _read(self, job: ReplayJob, start: Mapping[Partition, int]) -> Iterator[ConsumedRecord]:
        return read_to_end(self._common.kafka, self._dead_letters, start=start, ends=self._ends(job))

    def _take(self, found: FoundLetter, log: ReplayLog, job: ReplayJob, batch: _Batch) -> bool:
        """Put a wanted dead letter into the batch, or count why not."""
        letter = found.letter
        if letter is None:
            batch.refused[Refusal.UNREADABLE] += 1
            return False
        if self._request.passing is not None and not would_pass(letter, self._request.passing):
            return False
        done = log.last_job(letter.source) == job.id if self._request.again else log.times(letter.source) > 0
        if done:
            batch.already_sent += 1
            return False
        message = self._copy(found.raw, letter)
        refusal = self._refusal(found.raw, letter, message)
        if refusal is not None:
            batch.refused[refusal] += 1
            return False
        entry = Replayed(
            id=str(letter.source), caption_id=str(letter.source), job=job.id, times=log.times(letter.source) + 1,
            attempt=letter.attempt, sent_at=time.time(),
        )  # fmt: skip
        # Two dead letters of one input would otherwise both go within one run.
        log.add(entry)
        batch.copies.append(message)
        batch.size += message.size
        batch.entries.append(entry)
        return True

    def _copy(self, raw: ConsumedRecord, letter: DeadLetter) -> Message:
        """The input as it was, to where it was, with the number of attempts made."""
        return Message(
            topic=self._names.topic(self._route.reads),
            key=raw.key,
            value=raw.value,
            headers=[*input_headers(raw.headers), (ATTEMPT, str(letter.attempt).encode())],
            partition=letter.source.partition,
        )

    def _refusal(self, raw: ConsumedRecord, letter: DeadLetter, message: Message) -> Refusal | None:
        source = letter.source
        if source.topic != message.topic or not 0 <= source.partition < self._partitions[message.topic]:
            return Refusal.FOREIGN
        if not 1 <= letter.attempt < self._request.max_attempts:
            return Refusal.MAX_ATTEMPTS
        if raw.value == b"" or (raw.value is None and raw.key is None):
            return Refusal.NO_VALUE
        return Refusal.TOO_LARGE if message.size > MAX_RECORD_BYTES else None

    def _commit(self, writer: Transactions, batch: _Batch, job: ReplayJob) -> None:
        said: list[Replayed | ReplayJob] = [*batch.entries, job]
        entries = [log_message(self._names, self._route, entry, self._worker) for entry in said]
        writer.commit([*batch.copies, *entries], self._group(job), batch.offsets)

    def _keep_pace(self, began: float, sent: int) -> bool:
        """Wait until so many are due; False when it should end meanwhile."""
        due = began + (sent / self._rate if self._rate else 0.0)
        while (left := due - time.monotonic()) > 0:
            if self._stopping():
                return False
            time.sleep(min(left, PAUSE_S))
        return True

    def _ends(self, job: ReplayJob) -> dict[Partition, int]:
        return {
            Partition(self._names.topic(name), index): end
            for name, ends in job.ends.items()
            for index, end in enumerate(ends)
        }

    def _group(self, job: ReplayJob) -> str:
        return self._names.replay_group(self._route.worker, job.id)

    def _result(self, job: ReplayJob, resumed: bool, *, dry_run: bool = False) -> ReplayResult:
        return ReplayResult(
            job=job.id,
            stage=self._route.worker,
            sent=job.sent,
            already_sent=job.already_sent,
            refused=job.refused,
            complete=job.complete,
            resumed=resumed,
            dry_run=dry_run,
        )


def _advanced(job: ReplayJob, batch: _Batch) -> ReplayJob:
    return job.model_copy(
        update={
            "sent": job.sent + len(batch.copies),
            "already_sent": job.already_sent + batch.already_sent,
            "refused": dict(Counter(job.refused) + batch.refused),
            "total": job.total + len(batch.copies),
        }
    )


def _route_of(wanted: Filter) -> Route:
    [route] = [route for route in ROUTES if route.worker == wanted.stage]
    return route
