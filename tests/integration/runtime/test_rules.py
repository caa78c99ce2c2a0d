"""The rules of the runtime, on a real broker. Taking a rule out of the code makes its test fail."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka.producer.transaction_manager import TransactionalRequestResult, TransactionManager

from common.kafka import Admin, KafkaError, Partition, TransactionalProducer
from common.runtime import watchdog
from common.runtime import worker as worker_module
from common.runtime.delivery import TopicDelivery
from common.runtime.exits import ExitCode
from common.runtime.faults import Step
from common.runtime.flight import Fetched, Finished, Loaded, Prepared
from common.runtime.handover import Batch
from common.runtime.loading import Loader
from schemas.topics import EDITS
from tests.integration.kit import Stream, journal, wait_until
from tests.integration.runtime.in_process import PATIENCE_S, Harness, Hooks
from tests.integration.runtime.test_commit_rules import Bench, group, settle

PROBE = "tests.integration.probe"
WATCHDOG = "IMGDIFF_RUNTIME__TRANSACTION_WATCHDOG_S"
SOME_POLLS = 20


@pytest.fixture
def harness(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Harness:
    return Harness(stream, monkeypatch)


@pytest.fixture
def bench(stream: Stream) -> Bench:
    return Bench(stream)


def wait_for_polls(harness: Harness, count: int = SOME_POLLS) -> None:
    """Wait until the poll thread has gone round."""
    seen = harness.witness.count("consumer", "poll")
    wait_until("polling goes on", lambda: harness.witness.count("consumer", "poll") >= seen + count)


@contextmanager
def hanging() -> Iterator[Hooks]:
    """The first transaction hangs until the block ends."""
    release = threading.Event()
    try:
        yield Hooks(Step.AFTER_BEGIN, lambda: release.wait() and None)
    finally:
        release.set()


# Threads and queues


def test_one_thread_touches_the_consumer_and_one_the_producer(stream: Stream, harness: Harness) -> None:
    stream.produce_captions(["a dog"] * 40)
    with harness.worker():
        stream.settle("edits", "captions")
    calls = harness.witness.calls
    begun = [call for call in calls if call.kind == "producer" and call.method not in {"init_transactions", "close"}]
    assert {call.thread for call in calls if call.kind == "consumer"} == {"poll"}
    assert {call.thread for call in begun} == {"commit"}


def test_what_waits_in_front_of_a_busy_stage_is_bounded_and_polling_goes_on(stream: Stream, harness: Harness) -> None:
    busy, release = threading.Event(), threading.Event()

    def stage(ids: Sequence[str]) -> None:
        busy.set()
        assert release.wait(PATIENCE_S)

    stream.produce_captions(["a dog"] * 200)
    with harness.worker(stage, batch_size=4, environ={"IMGDIFF_RUNTIME__PREFETCH_BATCHES": "2"}):
        assert busy.wait(PATIENCE_S)
        wait_for_polls(harness)
        # One batch in the stage, two in front of it, and what the poll that filled the queue may bring with it.
        assert harness.witness.polled <= 3 * 4
        owned = {Partition(stream.names.topic("captions"), index) for index in range(stream.partitions)}
        last = next(call for call in reversed(harness.witness.calls) if call.method == "pause")
        assert last.partitions == owned
        release.set()
        stream.settle("edits", "captions")
    assert stream.counters("edits").passed == 200


def test_what_waits_behind_a_stage_for_its_commit_is_bounded(stream: Stream, harness: Harness) -> None:
    committing, release = threading.Event(), threading.Event()
    batches: list[int] = []

    def commit() -> None:
        committing.set()
        assert release.wait(PATIENCE_S)

    stream.produce_captions(["a dog"] * 200)
    with harness.worker(lambda ids: batches.append(len(ids)), Hooks(Step.AFTER_STORE, commit)):
        assert committing.wait(PATIENCE_S)
        wait_until("one commits, one waits, one is through the stage", lambda: len(batches) >= 3)
        wait_for_polls(harness)
        assert len(batches) == 3
        release.set()
        stream.settle("edits", "captions")


def test_a_batch_commits_while_the_next_one_computes(stream: Stream, harness: Harness) -> None:
    computing = threading.Event()
    batches: list[Sequence[str]] = []

    def stage(ids: Sequence[str]) -> None:
        batches.append(ids)
        if len(batches) > 1:
            computing.set()

    def commit() -> None:
        assert computing.wait(PATIENCE_S / 3), "the next batch waits for this commit"

    stream.produce_captions(["a dog"] * 40)
    with harness.worker(stage, Hooks(Step.AFTER_BEGIN, commit)):
        stream.settle("edits", "captions")
    assert harness.witness.clients["producer"] == 1


def test_polling_goes_on_while_records_are_loaded(
    stream: Stream, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, release = threading.Event(), threading.Event()
    load = Loader.load

    def slowly(loader: Loader, fetched: Fetched, wanted: Callable[[], bool]) -> Loaded:
        loading.set()
        assert release.wait(PATIENCE_S)
        return load(loader, fetched, wanted)

    monkeypatch.setattr(Loader, "load", slowly)
    stream.produce_captions(["a dog"] * 40)
    with harness.worker():
        assert loading.wait(PATIENCE_S)
        wait_for_polls(harness)
        release.set()
        stream.settle("edits", "captions")


def test_the_stage_goes_on_while_outcomes_are_stored(
    stream: Stream, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = threading.Event()
    batches: list[Sequence[str]] = []
    prepare = TopicDelivery.prepare

    def slowly(delivery: TopicDelivery, finished: Finished, wanted: Callable[[], bool]) -> Prepared:
        assert computing.wait(PATIENCE_S / 3), "the next batch waits for the pictures of this one"
        return prepare(delivery, finished, wanted)

    def stage(ids: Sequence[str]) -> None:
        batches.append(ids)
        if len(batches) > 1:
            computing.set()

    monkeypatch.setattr(TopicDelivery, "prepare", slowly)
    stream.produce_captions(["a dog"] * 40)
    with harness.worker(stage):
        stream.settle("edits", "captions")
    assert harness.exit_code is ExitCode.DONE


def test_records_of_a_partition_stay_in_order(stream: Stream, harness: Harness) -> None:
    seen: list[int] = []
    stream.produce_captions(["a dog"] * 200)
    # Three threads load five records at a time: the rest of what is taken for a batch of 16 is put back.
    threads = {"IMGDIFF_RUNTIME__PREFETCH_THREADS": "3"}

    def stage(ids: Sequence[str]) -> None:
        wait_for_polls(harness, 2)  # the queue is full again
        seen.extend(int(name.rpartition("#")[2]) for name in ids)

    with harness.worker(stage, batch_size=16, environ=threads):
        stream.settle("edits", "captions")
    for index in range(stream.partitions):
        of_one = [position for position in seen if position % stream.partitions == index]
        assert of_one == sorted(of_one)
        assert len(of_one) == 50


# Transactions


def test_a_transaction_begins_when_everything_is_stored(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    begin = TransactionalProducer.begin

    def noted(producer: TransactionalProducer) -> None:
        begun.append("begin")
        begin(producer)

    class Storing(Future[list[Prepared]]):
        def result(self, timeout: float | None = None) -> list[Prepared]:
            begun.append("stored")
            return super().result(timeout)

    monkeypatch.setattr(TransactionalProducer, "begin", noted)
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        bench = Bench(stream)
        prepared = bench._prepared(bench.own(0, 0), 4)
        stored = Storing()
        stored.set_result([prepared])
        bench.memberships = [ours.consumer.membership()]
        bench.committer._commit_batch(Batch([prepared.fetched], [stored]))
        bench.close()
    assert begun == ["stored", "begin"]
    assert bench.offsets() == {0: 5}


def test_a_revoke_between_membership_and_commit_drops_the_result(stream: Stream, bench: Bench) -> None:
    """Whoever looks at the epochs first, and asks for the membership then, commits for a partition that has gone."""
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        gone, kept = bench.own(0, 0), bench.own(1, 0)

        class Revoking(list):  # type: ignore[type-arg]
            def pop(self, index: int = -1) -> object:  # type: ignore[override]
                bench.assignment.lost([gone])
                return super().pop(index)

        bench.memberships = Revoking([ours.consumer.membership()])
        bench.commit((gone, 3), (kept, 4))
    bench.close()
    assert bench.offsets() == {1: 4}


def test_after_a_failed_transaction_everything_owned_starts_again_from_what_is_committed(
    stream: Stream, harness: Harness
) -> None:
    witness = harness.witness

    def fail() -> None:
        raise KafkaError("made up by the test")

    def settle_slowly(producer: int) -> None:
        # Until the new producer has settled the open transaction, committed offsets are not the truth.
        if producer == 2:
            wait_for_polls(harness)

    harness.on_connect = settle_slowly
    stream.produce_captions(["a dog"] * 80)
    # At the second passing: something is committed before, counters and all.
    with harness.worker(faults=Hooks(Step.AFTER_OFFSETS, fail, passing=2)):
        stream.settle("edits", "captions")

    recount = stream.recount(EDITS)
    assert recount.counters == stream.counters("edits")
    assert recount.counters.passed == 80
    assert witness.clients == {"consumer": 1, "producer": 2}
    failed = next(n for n, call in enumerate(witness.calls) if (call.method, call.client) == ("close", 1))
    after = witness.calls[failed:]
    settled = next(n for n, call in enumerate(after) if call.method == "init_transactions")
    for index in range(stream.partitions):
        partition = Partition(stream.names.topic("captions"), index)
        of_it = [(n, call.method) for n, call in enumerate(after) if partition in call.partitions]
        order = [next(n for n, method in of_it if method == name) for name in ("committed", "seek", "resume")]
        assert [settled, *order] == sorted([settled, *order]), f"{partition}: {of_it[:10]}"


def test_a_transaction_that_timed_out_ends_the_process_with_75(stream: Stream, harness: Harness) -> None:
    edits = [Partition(stream.names.topic("edits"), index) for index in range(stream.partitions)]

    def outlast() -> None:
        with Admin(stream.settings.kafka) as admin:
            wait_until("something is sent", lambda: any(admin.log_ends(edits).values()))
            wait_until("the broker has ended it", lambda: admin.log_ends(edits) == admin.end_offsets(edits))

    stream.produce_captions(["a dog"] * 40)
    limits = {"IMGDIFF_RUNTIME__TRANSACTION_TIMEOUT_S": "1"}
    with harness.worker(faults=Hooks(Step.AFTER_OFFSETS, outlast), environ=limits) as worker:
        assert harness.end_of(worker) is ExitCode.FENCED
    assert harness.witness.clients["producer"] == 1
    assert stream.counters("edits").consumed == 0


def test_a_transaction_that_hangs_ends_the_process(stream: Stream, harness: Harness) -> None:
    stream.produce_captions(["a dog"] * 8)
    with hanging() as hooks, harness.worker(faults=hooks, environ={WATCHDOG: "1"}) as worker:
        assert harness.end_of(worker) is ExitCode.OTHER


@pytest.mark.long
def test_while_the_broker_is_away_a_transaction_may_hang_as_long_as_the_broker_may_be_away(
    stream: Stream, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def away(settings: object) -> bool:
        asked.append(settings)
        return False

    def outlast() -> None:
        wait_until("the watchdog has looked", lambda: len(asked) > 5)

    monkeypatch.setattr(worker_module, "reachable", away)
    stream.produce_captions(["a dog"] * 8)
    with harness.worker(faults=Hooks(Step.AFTER_BEGIN, outlast), environ={WATCHDOG: "1"}):
        stream.settle("edits", "captions")
    assert harness.exit_code is ExitCode.DONE
    assert harness.witness.clients["producer"] == 1

    stream.produce_captions(["a dog"] * 8, start=8)
    limits = {WATCHDOG: "1", "IMGDIFF_RUNTIME__BROKER_PATIENCE_S": "2"}
    with hanging() as hooks, harness.worker(faults=hooks, environ=limits) as worker:
        assert harness.end_of(worker) is ExitCode.OTHER


def test_a_request_that_was_lost_with_the_broker_is_given_up_when_the_broker_is_back(
    stream: Stream, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "SUSPICIOUS_S", 0.2)
    monkeypatch.setattr(watchdog, "ANSWER_S", 0.5)
    answers = iter([False])
    monkeypatch.setattr(worker_module, "reachable", lambda settings: next(answers, True))
    sent = TransactionManager.send_offsets_to_transaction
    lost: list[TransactionalRequestResult] = []

    def lose_the_first(manager: TransactionManager, *arguments: object) -> TransactionalRequestResult:
        if lost:
            return sent(manager, *arguments)
        lost.append(TransactionalRequestResult())
        return lost[0]

    monkeypatch.setattr(TransactionManager, "send_offsets_to_transaction", lose_the_first)
    stream.produce_captions(["a dog"] * 8)
    with harness.worker():
        stream.settle("edits", "captions")
    assert harness.exit_code is ExitCode.DONE
    assert harness.witness.clients["producer"] == 2
    assert stream.recount(EDITS).counters.passed == 8


@pytest.mark.long
def test_what_an_aborted_transaction_left_is_not_read(stream: Stream) -> None:
    producer = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.aborted", 30)
    producer.begin()
    for position in range(8):
        producer.send(stream.caption_message("never written", position))
    producer._producer.flush()
    producer.abort()
    producer.close()
    stream.produce_captions(["a dog"] * 8, start=8)
    worker = stream.start(PROBE)
    stream.settle("edits", "captions")
    assert stream.counters("edits").consumed == 8
    assert stream.recount(EDITS).inputs == 8
    assert worker.stop() == 0


def test_offsets_are_committed_in_transactions_alone(
    stream: Stream, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The position past the last transaction marker, too."""
    plain: list[str] = []
    for name in ("commit", "commit_async"):
        method = getattr(KafkaConsumer, name)

        def noted(*arguments: Any, name: str = name, method: Callable[..., Any] = method, **named: Any) -> Any:
            plain.append(name)
            return method(*arguments, **named)

        monkeypatch.setattr(KafkaConsumer, name, noted)
    stream.produce_captions(["a dog"] * 40)
    with harness.worker():
        stream.settle("edits", "captions")
    calls = [call.method for call in harness.witness.calls if call.kind == "producer"]
    assert not plain
    assert {calls[n - 1] for n, method in enumerate(calls) if method == "send_offsets"} == {"begin", "send"}
    assert {calls[n + 1] for n, method in enumerate(calls) if method == "send_offsets"} == {"commit"}


# Membership


def test_a_newcomer_costs_nobody_a_partition_that_stays(stream: Stream) -> None:
    revoked: set[Partition] = set()
    with group(stream) as join:
        ours = join("ours")
        settle(ours)
        revoking = ours.listener.revoking

        def noted(partitions: Collection[Partition]) -> None:
            revoked.update(partitions)
            revoking(partitions)

        ours.listener.revoking = noted  # type: ignore[method-assign]
        theirs = join("theirs")
        settle(ours, theirs)
        assert revoked == theirs.listener.owned


def test_nothing_of_a_new_partition_is_fetched_before_it_is_resumed(stream: Stream) -> None:
    """Before its counters have been read, that is."""
    stream.produce_captions(["a dog"] * 8)
    polled: list[int] = []
    with group(stream) as join:
        member = join("only")

        def poll() -> None:
            polled.extend(len(fetched.records) for fetched in member.consumer.poll(0.05, 10))

        wait_until("it owns all", lambda: poll() or len(member.listener.owned) == stream.partitions, 30, 0)
        for _ in range(SOME_POLLS):
            poll()
        assert not polled
        member.consumer.resume(member.listener.owned)
        wait_until("all are there", lambda: poll() or sum(polled) == 8, 30, 0)


def test_a_consumer_whose_poll_raised_is_closed_and_never_polled_again(stream: Stream, harness: Harness) -> None:
    def stumble(consumer: int) -> None:
        if consumer == 1 and harness.witness.polled:
            raise KafkaError("made up by the test")

    harness.on_poll = stumble
    stream.produce_captions(["a dog"] * 80)
    with harness.worker():
        stream.settle("edits", "captions")
    of_first = [call.method for call in harness.witness.calls if (call.kind, call.client) == ("consumer", 1)]
    assert harness.witness.clients["consumer"] == 2
    assert of_first.index("close") == len(of_first) - 1
    assert stream.recount(EDITS).counters == stream.counters("edits")
    assert stream.counters("edits").passed == 80


@pytest.mark.long
def test_a_member_that_finishes_a_long_batch_in_a_revoke_stays_in_its_group(stream: Stream) -> None:
    """Waiting must not keep the client from its heartbeats."""
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 16)
    session = {
        "IMGDIFF_RUNTIME__SESSION_TIMEOUT_S": "6",
        "PROBE_JOURNAL": str(notes),
        "IMGDIFF_EDITS__BATCH_SIZE": "16",
    }
    # The batch takes seven sessions, most of them in the revoke.
    first = stream.start(PROBE, PROBE_DELAY_S="42", IMGDIFF_RUNTIME__DRAIN_BUDGET_S="120", **session)
    wait_until("the first batch began", lambda: bool(journal(notes)))
    newcomer = stream.start(PROBE, **session)
    wait_until("it is asked to give partitions away", lambda: "revoked " in first.log, 30)
    stream.settle("edits", "captions", 90)

    begun = Counter(identity for note in journal(notes) if note["what"] == "begin" for identity in note["ids"])
    assert set(begun.values()) == {1}
    assert "lost " not in first.log
    assert first.stop() == 0
    assert newcomer.stop() == 0


@pytest.mark.long
def test_a_stopped_worker_leaves_its_group_at_once(stream: Stream) -> None:
    worker = stream.start(PROBE)
    wait_until("it has its partitions", lambda: "assigned " in worker.log)
    assert worker.stop() == 0
    with Admin(stream.settings.kafka) as admin:
        assert admin.member_counts([stream.names.group("edits")]) == {stream.names.group("edits"): 0}


@pytest.mark.long
def test_a_restart_settles_at_once_what_its_predecessor_left_open(stream: Stream) -> None:
    """Not when the open transaction times out: until then no reader gets past it."""
    patient = {"IMGDIFF_RUNTIME__TRANSACTION_TIMEOUT_S": "600", "IMGDIFF_INSTANCE": "one"}
    stream.produce_captions(["a dog"] * 40)
    first = stream.start(PROBE, IMGDIFF_FAULT="edits:after_offsets:1:SIGKILL", **patient)
    assert first.wait(60) == -signal.SIGKILL
    second = stream.start(PROBE, **patient)
    stream.settle("edits", "captions")
    assert stream.recount(EDITS).counters.passed == 40
    assert second.stop() == 0


def test_the_client_is_set_up_as_the_rules_need_it(stream: Stream) -> None:
    with group(stream) as join:
        consumer = join("ours").consumer._consumer
        assert consumer.config["group_instance_id"] == "ours"
        assert consumer.config["heartbeat_interval_ms"] == 500
        assert consumer.config["enable_auto_commit"] is False
        assert consumer.config["key_deserializer"] is None
        assert consumer.config["value_deserializer"] is None
        assert consumer.config["reconnect_backoff_max_ms"] == 2_000
        assert consumer.config["retry_backoff_ms"] <= 2_000
    producer = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.ours", 10)
    assert producer._producer.config["reconnect_backoff_max_ms"] == 2_000
    assert producer._producer.config["retry_backoff_ms"] <= 2_000
    producer.close()


# SIGTERM


@pytest.mark.long
def test_a_stopping_worker_says_so_takes_nothing_in_and_commits_what_it_has_begun(stream: Stream) -> None:
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 80)
    slow = {"PROBE_DELAY_S": "6", "PROBE_JOURNAL": str(notes), "IMGDIFF_EDITS__BATCH_SIZE": "8"}
    worker = stream.start(PROBE, **slow)
    wait_until("it works", lambda: bool(journal(notes)) and worker.http("/readyz")[0] == 200)
    worker.send(signal.SIGTERM)
    wait_until("it says so", lambda: worker.http("/readyz") == (503, "draining\n"), 10, 0.05)
    begun = {identity for note in journal(notes) if note["what"] == "begin" for identity in note["ids"]}
    assert worker.wait() == 0
    at_the_end = {identity for note in journal(notes) if note["what"] == "begin" for identity in note["ids"]}
    assert at_the_end == begun
    assert stream.counters("edits").consumed == len(begun) < 80


@pytest.mark.long
def test_a_stopping_worker_drops_what_does_not_finish_within_the_budget(stream: Stream) -> None:
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 40)
    long = {"PROBE_DELAY_S": "600", "PROBE_JOURNAL": str(notes), "IMGDIFF_RUNTIME__DRAIN_BUDGET_S": "1"}
    worker = stream.start(PROBE, **long)
    wait_until("it works", lambda: bool(journal(notes)))
    assert worker.stop(60) == 0
    assert "the drain budget is spent" in worker.log
    assert stream.counters("edits").consumed == 0


@pytest.mark.long
def test_a_second_sigterm_ends_it_now(stream: Stream) -> None:
    notes = stream.folder / "journal"
    stream.produce_captions(["a dog"] * 40)
    long = {"PROBE_DELAY_S": "600", "PROBE_JOURNAL": str(notes), "IMGDIFF_RUNTIME__DRAIN_BUDGET_S": "600"}
    worker = stream.start(PROBE, **long)
    wait_until("it works", lambda: bool(journal(notes)))
    worker.send(signal.SIGTERM)
    wait_until("it drains", lambda: "stopping" in worker.log)
    worker.send(signal.SIGTERM)
    assert worker.wait(30) == 1


# What expired


def expire_all_but_five(stream: Stream) -> None:
    """Five offsets are left of each partition of the captions."""
    captions = [Partition(stream.names.topic("captions"), index) for index in range(stream.partitions)]
    with Admin(stream.settings.kafka) as admin:
        admin.delete_records({partition: end - 5 for partition, end in admin.end_offsets(captions).items()})


@pytest.mark.long
def test_offsets_below_the_start_of_the_log_stop_the_worker_unless_that_is_accepted(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 40)
    worker = stream.start(PROBE)
    stream.settle("edits", "captions")
    assert worker.stop() == 0
    stream.produce_captions(["a dog"] * 40, start=40)
    expire_all_but_five(stream)

    careful = stream.start(PROBE)
    assert careful.wait(60) == 78
    assert "runtime.accept_loss" in careful.log
    assert "Traceback" not in careful.log
    assert stream.counters("edits").consumed == 40

    careless = stream.start(PROBE, IMGDIFF_RUNTIME__ACCEPT_LOSS="true")
    stream.settle("edits", "captions")
    assert "expired unread" in careless.log
    # Five offsets are left of each partition, and one of them is the end of a transaction.
    assert stream.counters("edits").consumed == 40 + 4 * 4
    assert careless.stop() == 0


@pytest.mark.long
def test_a_group_whose_offsets_are_forgotten_does_nothing_twice(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 40)
    worker = stream.start(PROBE)
    stream.settle("edits", "captions")
    assert worker.stop() == 0
    with Admin(stream.settings.kafka) as admin:
        admin.delete_groups([stream.names.group("edits")])

    careful = stream.start(PROBE)
    assert careful.wait(60) == 78
    assert "nothing is committed, but outputs of it are there" in careful.log
    assert "Traceback" not in careful.log
    assert stream.recount(EDITS).counters.passed == 40


@pytest.mark.long
def test_records_that_expire_before_a_worker_comes_to_them_stop_it(stream: Stream) -> None:
    """The client would go on behind the gap, and nobody would know of it."""
    gate = stream.folder / "gate"
    stream.produce_captions(["a dog"] * 200)
    worker = stream.start(PROBE, PROBE_GATE=str(gate), IMGDIFF_EDITS__BATCH_SIZE="4")
    wait_until("it waits", lambda: "away" in worker.http("/readyz")[1])
    time.sleep(2)  # a fetch that was on its way has come back, and no other is sent
    stream.produce_captions(["a dog"] * 200, start=200)
    expire_all_but_five(stream)

    gate.touch()
    assert worker.wait(60) == 78
    assert "expired unread" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.long
def test_offsets_beyond_the_end_of_the_log_stop_the_worker(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 40)
    worker = stream.start(PROBE)
    stream.settle("edits", "captions")
    assert worker.stop() == 0
    first = Partition(stream.names.topic("captions"), 0)
    with Admin(stream.settings.kafka) as admin:
        end = admin.end_offsets([first])[first]
    owner = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.somebody", 10)
    owner.begin()
    owner.send_offsets_of(stream.names.group("edits"), {first: end + 7})
    owner.commit()
    owner.close()

    careful = stream.start(PROBE)
    assert careful.wait(60) == 78
    assert f"committed {end + 7}, the log ends at {end}" in careful.log
    assert "Traceback" not in careful.log


@pytest.mark.long
def test_a_broker_that_forgets_offsets_before_records_expire_is_told_at_the_start(stream: Stream) -> None:
    with Admin(stream.settings.kafka) as admin:
        minutes = admin.broker_config("offsets.retention.minutes")
    assert minutes is not None
    longer = str(int(minutes) // 60 + 1)
    worker = stream.start(PROBE, IMGDIFF_TOPICS__RETENTION_HOURS=longer)
    fine = stream.start(PROBE)
    wait_until("both have begun", lambda: "assigned " in worker.log and "assigned " in fine.log)
    assert any("offsets.retention.minutes" in line for line in worker.lines("WARNING"))
    assert not any("offsets.retention.minutes" in line for line in fine.lines("WARNING"))
    assert worker.stop() == 0
    assert fine.stop() == 0
