"""A worker process put together: what is built in which order, which threads run, and how it ends."""

import faulthandler
import gc
import logging
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from common.blobs import Blobs, NotedStream
from common.health import Health, HealthServer, Stuck
from common.kafka import (
    Admin,
    GroupConsumer,
    KafkaError,
    Membership,
    TransactionalProducer,
    reachable,
    require_listener,
)
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit
from common.runtime.cluster import Cluster
from common.runtime.commit import Committer
from common.runtime.crash_marks import CrashMarks
from common.runtime.deadline import Deadline
from common.runtime.delivery import Signature
from common.runtime.errors import BrokerUnreachableError, ConfigurationError
from common.runtime.execution import Execution
from common.runtime.exits import ExitCode, exit_code_of
from common.runtime.faults import Faults
from common.runtime.handover import CommitQueue
from common.runtime.instance import Instance
from common.runtime.intake import Intake
from common.runtime.loading import Loader
from common.runtime.ownership import Assignment
from common.runtime.poller import Listener, Poller
from common.runtime.retry import NotWantedError, Retry
from common.runtime.shared import Shared
from common.runtime.spec import DeliveryParts, WorkerSpec
from common.runtime.stage import Stage
from common.runtime.stage_loop import StageLoop
from common.runtime.watchdog import ThreadStuckError, ThreadWatchdog, TransactionWatchdog, log_stacks
from common.settings import CommonSettings, StageSettings, settings_digest
from schemas.topics import Names

log = logging.getLogger(__name__)

THREAD_LIMITS_S = {"main": 120.0, "poll": 120.0, "prefetch": 300.0, "store": 300.0, "shard": 3_600.0}
"""How long one piece of work of a thread may take before /livez calls it stuck and the process ends, beside the drain budget:
a revoke drains inside a poll, a commit waits for what a revoke drains. A single call to an object store may take 60 s, and a
shard with the pictures of a whole batch, which the commit thread writes and moves, as long as its bytes take at the slowest.
The limit of the stage is a setting, the commit thread has this much more than the broker may be away."""
COMMIT_LIMIT_S = 60.0

WORKING = {"prefetch", "stage", "store"}
"""The threads that have records in their hands. An error in the prefetch surfaces in the stage thread, so that of the prefetch
only a hang is seen here."""

JOIN_TIMEOUT_S = 5.0
TICK_S = 0.1
BROKER_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Failure:
    thread: str
    error: BaseException

    @property
    def killed_by_its_batch(self) -> bool:
        """Whether a record at work may have ended this process, as a crash would: it hung, or ended the thread with
        something that is no error of a record. A lost device and a wrong setting are nobody's in the batch."""
        if isinstance(self.error, MemoryError):
            return True  # of what is stored the commit thread learns it
        return self.thread in WORKING and exit_code_of(self.error) is ExitCode.OTHER


class Worker:
    """One worker process. `run` returns when it was told to stop, or when it can not go on."""

    def __init__(
        self, spec: WorkerSpec[Any], settings: StageSettings, common: CommonSettings, environ: Mapping[str, str]
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._common = common
        self._names = Names(common.prefix)
        self._faults = Faults.from_environment(environ, spec.route.worker)
        self._group = self._names.group(spec.route.worker)
        self._cluster = Cluster(common, self._names, spec.route)
        self._instance = Instance.claim(environ, common.runtime.lock_folder, self._group)
        self._health = Health()
        for thread, limit_s in THREAD_LIMITS_S.items():
            self._health.watch(thread, limit_s + common.runtime.drain_budget_s)
        self._health.watch("stage", common.runtime.stage_timeout_s)
        self._health.watch("commit", COMMIT_LIMIT_S + common.runtime.broker_patience_s + common.runtime.drain_budget_s)
        self._metrics = WorkerMetrics(spec.route.worker, version("imgdiff"), common.profile)
        self._metrics.declare_reasons(str(reason) for reason in spec.reasons)
        self._metrics.readiness(lambda: not self._health.unready())
        self._stop = threading.Event()
        self._drained = threading.Event()
        self._failed = threading.Event()
        self._failure: _Failure | None = None

    def run(self) -> ExitCode:
        """Work until SIGTERM or SIGINT. Errors are logged as one line and become the exit code."""
        try:
            with HealthServer(self._common.http, self._health, self._metrics.registry) as server, self._instance:
                log.info(
                    "instance %s, http port %d, profile %s", self._instance.name, server.port, self._common.profile
                )
                return self._run()
        except NotWantedError:
            log.info("stopped before it had begun")
            return ExitCode.DONE
        except Exception as error:
            return _report("start", error)

    def stop(self) -> None:
        """Finish what has begun, commit it, leave."""
        self._stop.set()

    def _wanted(self) -> bool:
        return not self._stop.is_set()

    def _run(self) -> ExitCode:
        blobs = Blobs(self._common.blobs)
        retry = Retry(self._common.runtime, self._health, self._metrics)
        retry.run("reach the object store", blobs.check, self._wanted)
        marks = CrashMarks(self._common.blobs, self._group)
        retry.run("reach the object store", marks.prepare, self._wanted)
        self._probe_cluster()
        # Models load and warm up before the group is joined: a member that cannot work yet would hold partitions.
        stage = self._load(retry)
        self._await_cluster()
        stream = NotedStream(self._cluster.id, self._common.prefix)
        retry.run("reach the object store", lambda: blobs.add_stream(stream), self._wanted)
        signature = Signature(
            worker=self._spec.route.worker,
            version=version("imgdiff"),
            settings_digest=settings_digest(self._settings, self._common.models),
            models=tuple(stage.models),
        )
        parts = DeliveryParts(self._spec.route, self._names, signature, blobs, retry, self._settings)
        shared = Shared(
            settings=self._common.runtime,
            assignment=Assignment(self._common.runtime.drain_budget_s),
            commits=CommitQueue(),
            delivery=retry.run("reach the place of the outputs", lambda: self._spec.deliver(parts), self._wanted),
            retry=retry,
            faults=self._faults,
            health=self._health,
            metrics=self._metrics,
            watchdog=TransactionWatchdog(self._common.runtime),
            marks=marks,
            circuit=Circuit(self._common.runtime, self._health, self._metrics),
        )
        loader = Loader(self._spec.reads, blobs, retry, decode_images=self._spec.decodes_images)
        intake = Intake(loader, shared, self._settings.batch_size)
        poller = Poller(shared, intake, self._cluster, lambda: self._join_group(shared.assignment))
        committer = Committer(shared, self._connect_producer, lambda: _membership(poller))
        execution = Execution(
            stage,
            self._spec.reasons,
            retry,
            shared.assignment,
            circuit=shared.circuit,
            health=self._health,
            max_attempts=self._common.runtime.max_attempts,
            alone=marks.lone_suspect,
        )
        loop = StageLoop(shared, intake, execution, self._settings)

        committer.open(self._wanted)
        # Modules, models and settings live as long as the process: no collection has to walk through them again.
        gc.collect()
        gc.freeze()
        threads = [
            self._thread("poll", lambda: self._poll(poller)),
            self._thread("stage", lambda: loop.run(self._drained)),
            self._thread("commit", lambda: committer.run(self._drained)),
        ]
        with ThreadWatchdog(self._health, self._common.runtime, self._stuck):
            for thread in threads:
                thread.start()
            self._supervise(shared, committer)
            return self._end(threads, intake, committer, shared)

    def _load(self, retry: Retry) -> Stage[Any, Any]:
        """The stage with its models. Raises NotWantedError at once when the worker is told to stop.

        Loading takes minutes and can not be told to stop, so it has a thread that the end of the process does not wait for.
        """
        loading: Future[Stage[Any, Any]] = Future()

        def load() -> None:
            try:
                loading.set_result(
                    retry.run("load the models", lambda: self._spec.build(self._settings, self._common), self._wanted)
                )
            except BaseException as error:
                loading.set_exception(error)

        threading.Thread(target=load, name="load", daemon=True).start()
        while not wait([loading], TICK_S).done:
            if self._stop.is_set():
                raise NotWantedError("load the models")
        return loading.result()

    def _poll(self, poller: Poller) -> None:
        poller.run(self._stop)
        while not self._drained.is_set():
            poller.keep_alive()
        poller.close()

    def _probe_cluster(self) -> None:
        """Nobody should wait for the models to load, only to be told of a wrong password. A broker that is away is waited
        for later."""
        with suppress(BrokerUnreachableError):
            self._cluster.check()

    def _await_cluster(self) -> None:
        """A broker that is away when a worker starts is waited for like one that goes away later."""
        patience = Deadline(self._common.runtime.broker_patience_s)
        while not self._stop.is_set():
            try:
                self._cluster.check()
                return
            except BrokerUnreachableError as error:
                if patience.expired:
                    raise
                log.warning("waiting for the broker: %s", error)
                self._health.waiting("start", str(error))
                self._stop.wait(BROKER_PAUSE_S)
        raise NotWantedError("the cluster")

    def _supervise(self, shared: Shared, committer: Committer) -> None:
        """Wait for the order to stop, then for what has begun to be committed."""
        assignment = shared.assignment
        while not (self._stop.is_set() or self._failed.is_set()):
            self._health.busy("main")
            self._stop.wait(TICK_S)
            self._check_transaction(shared.watchdog, committer)
        if self._failed.is_set():
            return
        budget = Deadline(self._common.runtime.drain_budget_s)
        log.info("stopping: finishing what has begun within %.0f s", budget.remaining())
        self._health.waiting("drain", "draining")
        assignment.drain_all()
        shared.marks.draining()
        while assignment.busy() and not budget.expired and not self._failed.is_set():
            self._health.busy("main")
            self._drained.wait(TICK_S / 5)
            self._check_transaction(shared.watchdog, committer)
        if assignment.busy() and not self._failed.is_set():
            log.warning("the drain budget is spent: what has begun is dropped and done again by others")

    def _check_transaction(self, watchdog: TransactionWatchdog, committer: Committer) -> None:
        if not watchdog.suspicious:
            return
        overdue = watchdog.overdue_s(reachable(self._common.kafka))
        if watchdog.forgotten:
            committer.give_up()
        if overdue is not None and not self._failed.is_set():
            log_stacks("a transaction hangs")
            self._fail("commit", ThreadStuckError(f"a transaction hangs since {overdue:.0f} s"))

    def _stuck(self, stuck: Stuck) -> None:
        self._fail(stuck.thread, ThreadStuckError(str(stuck)))

    def _fail(self, thread: str, error: BaseException) -> None:
        if not self._failed.is_set():
            self._failure = _Failure(thread, error)
            self._failed.set()
            self._stop.set()

    def _end(self, threads: list[threading.Thread], intake: Intake, committer: Committer, shared: Shared) -> ExitCode:
        self._stop.set()
        self._drained.set()
        intake.close()
        if self._failure is not None:
            # The others may be anywhere; the next start asks the group for the truth.
            code = _report(self._failure.thread, self._failure.error)
            if not self._failure.killed_by_its_batch:
                shared.marks.clear(shared.assignment.committed_offsets(), JOIN_TIMEOUT_S)
            return code
        for thread in threads:
            thread.join(JOIN_TIMEOUT_S)
        shared.marks.clear(shared.assignment.committed_offsets(), JOIN_TIMEOUT_S)
        committer.close()
        self._leave_group()
        log.info("stopped")
        return ExitCode.DONE

    def _leave_group(self) -> None:
        """A static member that only closes leaves its partitions idle until its session runs out."""
        try:
            with Admin(self._common.kafka) as admin:
                admin.remove_member(self._group, self._instance.name)
        except (KafkaError, ConfigurationError) as error:
            log.warning("could not leave the group, its partitions wait for the session to run out: %s", error)

    def _join_group(self, assignment: Assignment) -> GroupConsumer:
        require_listener(self._common.kafka)
        return GroupConsumer(
            self._common.kafka,
            group=self._group,
            instance=self._instance.name,
            topic=self._names.topic(self._spec.route.reads),
            session_timeout_s=self._common.runtime.session_timeout_s,
            listener=Listener(assignment, self._metrics),
        )

    def _connect_producer(self) -> TransactionalProducer:
        require_listener(self._common.kafka)
        return TransactionalProducer(
            self._common.kafka,
            self._names.transactional_id(self._spec.route.worker, self._instance.name),
            self._common.runtime.transaction_timeout_s,
        )

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self._fail(name, error)

        return threading.Thread(target=guarded, name=name, daemon=True)


def install_signals(worker: Worker, give_up: Callable[[], None]) -> None:
    """SIGTERM or SIGINT: drain and leave. A second one: now. SIGUSR1: where every thread is, on standard error."""
    seen = threading.Event()

    def handle(number: int, frame: object) -> None:
        if seen.is_set():
            give_up()
        seen.set()
        worker.stop()

    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _membership(poller: Poller) -> Membership | None:
    consumer = poller.consumer
    return None if consumer is None else consumer.membership()


def _report(where: str, error: BaseException) -> ExitCode:
    code = exit_code_of(error)
    if code is ExitCode.OTHER and not isinstance(error, ConfigurationError | ThreadStuckError):
        log.error("%s: %s: %s", where, type(error).__name__, error, exc_info=error)
    else:
        log.error("%s: %s", where, error)
    return code
