"""Every kind of fault: what it does, what it can hit, and how it is brought about."""

import os
import random
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from common.runtime.circuit import MOST, TRIAL
from common.runtime.faults import Step
from schemas.topics import BOXES, DATASET, EDITS, INGEST, PAIRS, QA, REGION_CAPTIONS
from tests.chaos.broker import ChaosBroker
from tests.chaos.members import Member, struck
from tests.chaos.outcomes import Outcome
from tests.chaos.stream import STAGE_TIMEOUT_S, ChaosStream
from tests.chaos.worker import Action, StageFault

SHORT_STOP_S = 4.0
LONG_STOP_S = 14.0
"""Shorter and longer than the session of 10 s; both longer than the 5 s of a transaction, or nearly."""

MODELLED = (EDITS.worker, PAIRS.worker, BOXES.worker, REGION_CAPTIONS.worker, QA.worker)
SINK = (DATASET.worker,)
STAGES = MODELLED + SINK
HANDLES_PICTURES = (PAIRS.worker, BOXES.worker, REGION_CAPTIONS.worker, QA.worker, DATASET.worker)

WORKER_STEPS = (
    Step.BEFORE_STORE,
    Step.AFTER_STORE,
    Step.AFTER_BEGIN,
    Step.AFTER_SENDS,
    Step.AFTER_OFFSETS,
    Step.AFTER_COMMIT,
)
SINK_STEPS = (*WORKER_STEPS, Step.AFTER_SEAL, Step.AFTER_MOVE)
INGEST_STEPS = (Step.AFTER_BEGIN, Step.AFTER_SENDS, Step.AFTER_COMMIT)

FULL_AT_BYTES = 512
"""Where the disk is full: no picture and no shard is that small."""

SLOW_STORE_S = 0.4
DELAY_S = 0.3


class Family(StrEnum):
    """What kinds have in common."""

    WORKERS = "worker processes"
    SINK = "the sink"
    INGEST = "ingest"
    MEMBERSHIP = "workers joining and leaving"
    BROKER = "the broker"
    NETWORK = "connections"
    STORE = "the object store"
    STAGE = "inside of a stage"


class NotStruckError(Exception):
    """A fault had no occasion to strike. That is no failure of the stream, but no trial either."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan. Everything random in it comes from `seed`."""

    number: int
    kind: "Kind"
    target: str
    step: Step | None
    seed: int

    def __str__(self) -> str:
        where = f" of {self.target}" if self.target else ""
        return f"{self.kind.name}{where}{f' at {self.step}' if self.step else ''}"


class SharedFault:
    """A fault of the broker: brought about once, when all streams are at work."""

    def __init__(self, streams: int, bring_about: Callable[[], None]) -> None:
        self.over: Future[None] = Future()
        self._awaited = streams
        self._bring_about = bring_about
        self._lock = threading.Lock()

    def arrive(self) -> None:
        """A stream is at work, or never will be. The last one sets off the fault."""
        with self._lock:
            self._awaited -= 1
            if self._awaited:
                return
        threading.Thread(target=self._run, name="broker fault", daemon=True).start()

    def _run(self) -> None:
        try:
            self._bring_about()
            self.over.set_result(None)
        except BaseException as error:
            self.over.set_exception(error)


@dataclass(frozen=True, slots=True)
class Tolerated:
    """How many captions a fault may take out, and with which stage and reason."""

    how: str
    most: int


@dataclass
class Scene:
    """A stream for the length of one fault."""

    stream: ChaosStream
    fault: Fault
    captions: Sequence[str]
    expected: Mapping[str, Mapping[str, Outcome]]
    """What the undisturbed run made of these captions, by worker and input."""
    shared: "SharedFault | None" = None
    """The fault of the broker, where that is what this is about."""
    removed: dict[str, str] = field(default_factory=dict)
    """By caption id, the stage and reason at which the fault is meant to take it out."""
    tolerated: Tolerated | None = None
    """What it may take out besides, where that depends on the moment."""
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.fault.seed)

    def feed(self) -> None:
        self.stream.feed({f"fault-{self.fault.number}": self.captions})

    def feed_and_wait(self) -> None:
        """Feed, and wait until some stage is at work on it."""
        before = self.stream.counters() or {}
        watched = self.chance.choice((EDITS.worker, PAIRS.worker, BOXES.worker, QA.worker))
        self.feed()

        def at_work() -> bool:
            now = self.stream.counters()
            return now is not None and (
                watched not in before or now[watched].consumed > before[watched].consumed or self.stream.settled()
            )

        self.stream.wait(f"{watched} to be at work", at_work)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `inject` feeds the captions, brings the fault about and ends it; what follows is recovery."""

    name: str
    family: Family
    meaning: str
    inject: Callable[[Scene], None]
    targets: Sequence[str] = ("",)
    """What it can hit; one of them is drawn."""
    steps: Sequence[Step | None] = (None,)
    """All of them are tried before one is tried again."""
    weight: int = 1
    """How often it is tried in each pass over all steps."""


def killed(scene: Scene) -> None:
    _signalled(scene, signal.SIGKILL)


def terminated(scene: Scene) -> None:
    _signalled(scene, signal.SIGTERM)


def stopped_short(scene: Scene) -> None:
    pid = _signalled(scene, signal.SIGSTOP)
    with _continued(pid):
        scene.stream.pause(SHORT_STOP_S)


def stopped_long(scene: Scene) -> None:
    """Another process is there to take over, and works on when the stopped one wakes up."""
    _one_more(scene)
    pid = _signalled(scene, signal.SIGSTOP)
    with _continued(pid):
        scene.stream.pause(LONG_STOP_S)


def joins(scene: Scene) -> None:
    scene.feed_and_wait()
    for _ in range(2):
        scene.stream.start(scene.fault.target)


def leaves(scene: Scene) -> None:
    member = _one_more(scene)
    scene.feed_and_wait()
    scene.stream.stop(member)


def broker_fault(scene: Scene) -> None:
    assert scene.shared is not None, f"{scene.fault}: nobody brings it about"
    try:
        scene.feed_and_wait()
    finally:
        scene.shared.arrive()
    over = scene.shared.over
    scene.stream.wait("the fault of the broker to be over", over.done)
    over.result()


def connections_cut(scene: Scene) -> None:
    scene.feed_and_wait()
    for _ in range(3):
        scene.stream.proxy.cut()
        scene.stream.pause(scene.chance.uniform(0.1, 0.8))


def connections_refused(scene: Scene) -> None:
    scene.feed_and_wait()
    with scene.stream.proxy.refusing():
        scene.stream.pause(scene.chance.uniform(3, 14))


def connections_delayed(scene: Scene) -> None:
    with scene.stream.proxy.delaying(DELAY_S):
        scene.feed_and_wait()
        scene.stream.pause(scene.chance.uniform(3, 6))


def connections_frozen_short(scene: Scene) -> None:
    scene.feed_and_wait()
    with scene.stream.proxy.frozen():
        scene.stream.pause(SHORT_STOP_S)


def connections_frozen_long(scene: Scene) -> None:
    scene.feed_and_wait()
    with scene.stream.proxy.frozen():
        scene.stream.pause(LONG_STOP_S)


def store_absent(scene: Scene) -> None:
    folder = scene.stream.folder / scene.fault.target
    aside = folder.with_name(f"{folder.name}-unmounted")
    folder.rename(aside)
    try:
        _feed_and_hold(scene)
    finally:
        aside.rename(folder)


def permission_denied(scene: Scene) -> None:
    with _mode(scene.stream.folder / scene.fault.target, 0o000):
        _feed_and_hold(scene)


def terminated_without_store(scene: Scene) -> None:
    """Whoever needs the store is told to end while it waits for it: what it can not finish others have to."""
    with _mode(scene.stream.folder / scene.fault.target, 0o000):
        _feed_and_notice(scene)
        scene.stream.pause(scene.chance.uniform(0.5, 2))
        for member in scene.stream.members:
            if member.worker in HANDLES_PICTURES:
                member.send(signal.SIGTERM)
        scene.stream.pause(scene.chance.uniform(0, 3))


def disk_full(scene: Scene) -> None:
    members = [member for member in scene.stream.members if member.worker in HANDLES_PICTURES]
    with _file_size_limit(members, FULL_AT_BYTES):
        _feed_and_hold(scene)


def store_slow(scene: Scene) -> None:
    slow = scene.stream.files.slow_store
    slow.write_text(str(SLOW_STORE_S))
    try:
        scene.feed_and_wait()
        scene.stream.pause(scene.chance.uniform(2, 5))
    finally:
        slow.unlink()


def call_raises(scene: Scene) -> None:
    _in_stage(scene, StageFault(Action.RAISE, call=scene.chance.randint(1, 2)))


def out_of_memory(scene: Scene) -> None:
    """More than two records do not fit, until the fault is over."""
    _in_stage(scene, StageFault(Action.NO_MEMORY, above=2))
    scene.stream.pause(1.0)
    scene.stream.files.stage(scene.fault.target).unlink()


def every_call_raises(scene: Scene) -> None:
    """The circuit opens. Until it does, records become dead letters: one of few to begin with is no pattern yet, and few that
    are tried after its pause are none again."""
    scene.tolerated = Tolerated(f"{scene.fault.target}.failed: exception", MOST - 1 + TRIAL - 1)
    _in_stage(scene, StageFault(Action.RAISE, above=0))
    scene.stream.pause(scene.chance.uniform(3, 6))
    scene.stream.files.stage(scene.fault.target).unlink()


def call_hangs(scene: Scene) -> None:
    """The worker ends itself after the time that a call of its stage may take."""
    _in_stage(scene, StageFault(Action.HANG, call=scene.chance.randint(1, 2)))


def record_raises(scene: Scene) -> None:
    _bad_record(scene, Action.RAISE, "exception")


def record_out_of_memory(scene: Scene) -> None:
    _bad_record(scene, Action.NO_MEMORY, "out_of_memory")


def record_kills(scene: Scene) -> None:
    _bad_record(scene, Action.KILL, "crash")


BROKER_FAULTS: Mapping[str, Callable[[ChaosBroker, random.Random], None]] = {
    "broker_killed": lambda broker, chance: broker.kill(away_s=0),
    "broker_killed_and_away": lambda broker, chance: broker.kill(away_s=chance.uniform(10, 20)),
    "broker_restarted": lambda broker, chance: broker.restart(away_s=0),
    "broker_frozen_short": lambda broker, chance: broker.freeze(SHORT_STOP_S),
    "broker_frozen_long": lambda broker, chance: broker.freeze(LONG_STOP_S),
}
"""What each kind of the family does to the broker."""

_KILLED = "SIGKILL"
_TERMINATED = "SIGTERM: it finishes what it has begun, leaves, and is started again"
_SHORT = f"SIGSTOP for {SHORT_STOP_S:.0f} s, less than the session"
_LONG = f"SIGSTOP for {LONG_STOP_S:.0f} s, more than the session, with a second process there to take over"

KINDS: Sequence[Kind] = (
    *(
        Kind(f"{prefix}_{name}", family, f"{meaning}, at a step", inject, targets, steps)
        for prefix, family, targets, steps in (
            ("worker", Family.WORKERS, MODELLED, WORKER_STEPS),
            ("sink", Family.SINK, SINK, SINK_STEPS),
            ("ingest", Family.INGEST, (INGEST,), INGEST_STEPS),
        )
        for name, meaning, inject in (
            ("killed", _KILLED, killed),
            ("stopped_short", _SHORT, stopped_short),
            ("stopped_long", _LONG, stopped_long),
            ("terminated", _TERMINATED, terminated),
        )
    ),
    Kind("workers_join", Family.MEMBERSHIP, "two more processes of a worker join it at work", joins, STAGES, weight=4),
    Kind("worker_leaves", Family.MEMBERSHIP, "one of two processes of a worker leaves", leaves, STAGES, weight=4),
    *(
        Kind(name, Family.BROKER, meaning, broker_fault)
        for name, meaning in (
            ("broker_killed", "SIGKILL, started again at once"),
            ("broker_killed_and_away", "SIGKILL, started again after 10 to 20 s"),
            ("broker_restarted", "stopped in order, started again"),
            ("broker_frozen_short", f"SIGSTOP for {SHORT_STOP_S:.0f} s, less than the session"),
            ("broker_frozen_long", f"SIGSTOP for {LONG_STOP_S:.0f} s, more than the session"),
        )
    ),
    Kind("connections_cut", Family.NETWORK, "all are reset, three times", connections_cut, weight=3),
    Kind("connections_refused", Family.NETWORK, "reset, and refused for 3 to 14 s", connections_refused, weight=3),
    Kind(
        "connections_delayed",
        Family.NETWORK,
        f"each piece of data is {DELAY_S * 1000:.0f} ms late, either way",
        connections_delayed,
        weight=2,
    ),
    Kind(
        "connections_frozen_short",
        Family.NETWORK,
        f"nothing passes for {SHORT_STOP_S:.0f} s, less than the session",
        connections_frozen_short,
        weight=2,
    ),
    Kind(
        "connections_frozen_long",
        Family.NETWORK,
        f"nothing passes for {LONG_STOP_S:.0f} s, more than the session",
        connections_frozen_long,
        weight=2,
    ),
    Kind(
        "store_absent",
        Family.STORE,
        "the folder of pictures or of the dataset is moved away, until 2 to 6 s after somebody has noticed",
        store_absent,
        ("blobs", "dataset"),
        weight=3,
    ),
    Kind(
        "permission_denied",
        Family.STORE,
        "the folder of pictures, or of shards, may not be entered, until 2 to 6 s after somebody has noticed (root's right "
        "to do so all the same is taken from the workers)",
        permission_denied,
        ("blobs", "blobs/images", "dataset/pending", "dataset/data"),
        weight=4,
    ),
    Kind(
        "terminated_without_store",
        Family.STORE,
        "SIGTERM for all workers that need the store, while they wait for a folder of it that may not be entered; it may "
        "again after 0 to 3 s",
        terminated_without_store,
        ("blobs/images", "dataset/pending", "dataset/data"),
        weight=4,
    ),
    Kind(
        "disk_full",
        Family.STORE,
        f"the system refuses the workers every file larger than {FULL_AT_BYTES} bytes (RLIMIT_FSIZE), in the midst of a write "
        "as a full disk would, until 2 to 6 s after somebody has noticed",
        disk_full,
        weight=3,
    ),
    Kind(
        "store_slow",
        Family.STORE,
        f"each call of the store takes {SLOW_STORE_S * 1000:.0f} ms longer",
        store_slow,
        weight=2,
    ),
    Kind("call_raises", Family.STAGE, "the first or second call raises an exception", call_raises, STAGES, weight=4),
    Kind(
        "every_call_raises",
        Family.STAGE,
        f"for 3 to 6 s every call raises: at most {MOST - 1} records become dead letters before the circuit opens, and "
        f"{TRIAL - 1} of a small batch after that",
        every_call_raises,
        # Where a caption is one record, so that they can be counted.
        (EDITS.worker,),
        weight=2,
    ),
    Kind(
        "call_hangs",
        Family.STAGE,
        f"the first or second call never returns, where one may take {STAGE_TIMEOUT_S:.0f} s",
        call_hangs,
        STAGES,
        weight=3,
    ),
    Kind(
        "out_of_memory", Family.STAGE, "batches of more than two records do not fit", out_of_memory, MODELLED, weight=3
    ),
    Kind(
        "record_raises",
        Family.STAGE,
        "one record raises whenever it is tried: it becomes a dead letter, and it alone",
        record_raises,
        STAGES,
        weight=3,
    ),
    Kind(
        "record_out_of_memory",
        Family.STAGE,
        "one record does not fit even alone: it becomes a dead letter, and it alone",
        record_out_of_memory,
        MODELLED,
        weight=3,
    ),
    Kind(
        "record_kills",
        Family.STAGE,
        "one record kills the process whenever it is tried (SIGKILL): it becomes a dead letter, and it alone",
        record_kills,
        STAGES,
        weight=3,
    ),
)
"""All of them."""


def _signalled(scene: Scene, number: signal.Signals) -> int:
    """Have the target signalled at the step while it works on the captions; the process that was hit."""
    fault = scene.fault
    # A sink and an ingest pass few steps with a handful of captions.
    passings = scene.chance.randint(1, 2) if fault.target in MODELLED else 1
    # Transactions without records, which step over the markers of the last ones, pass the same steps.
    scene.stream.wait(f"{fault.target} to be at rest", lambda: scene.stream.at_rest(fault.target))
    path = scene.stream.files.step(fault.target)
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(f"{fault.target}:{fault.step}:{passings}:{number.name}")
    aside.replace(path)
    scene.feed()
    if not scene.stream.struck(path):
        raise NotStruckError(f"{fault.target} did not pass {fault.step} {passings} times")
    return int(struck(path).read_text())


def _feed_and_hold(scene: Scene) -> None:
    """Feed, and keep the fault up for some seconds after somebody has run into it."""
    _feed_and_notice(scene)
    scene.stream.pause(scene.chance.uniform(2, 6))


def _feed_and_notice(scene: Scene) -> None:
    """Feed, and wait until somebody has run into the fault."""
    before = scene.stream.retries
    scene.feed()
    scene.stream.wait("somebody to notice", lambda: scene.stream.retries > before or scene.stream.settled())
    if scene.stream.retries == before:
        raise NotStruckError("nobody noticed")


def _in_stage(scene: Scene, fault: StageFault) -> None:
    path = scene.stream.files.stage(scene.fault.target)
    fault.write(path)
    scene.feed()
    if not scene.stream.struck(path):
        raise NotStruckError(f"{scene.fault.target} was not called as the fault wants it")


def _bad_record(scene: Scene, action: Action, reason: str) -> None:
    """A caption of which one stage can make nothing. The fault stays, as the record does."""
    target = scene.fault.target
    captions = sorted({outcome.caption for outcome in scene.expected[target].values()})
    if not captions:
        raise NotStruckError(f"none of the captions gets as far as {target}")
    caption = scene.chance.choice(captions)
    scene.removed[caption] = f"{target}.failed: {reason}"
    _in_stage(scene, StageFault(action, caption=caption))


@contextmanager
def _continued(pid: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _one_more(scene: Scene) -> Member:
    """A second process of the target, which has its share of the partitions when this returns."""
    member = scene.stream.start(scene.fault.target)
    scene.stream.wait(f"{member.name} to be there", lambda: scene.stream.joined(member.worker))
    return member


@contextmanager
def _mode(folder: Path, mode: int) -> Iterator[None]:
    before = folder.stat().st_mode
    folder.chmod(mode)
    try:
        yield
    finally:
        folder.chmod(before)


@contextmanager
def _file_size_limit(members: Sequence[Member], limit: int) -> Iterator[None]:
    """No file of these processes may grow beyond the limit; Python ignores the signal that comes with the refusal."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    pids = [member.pid for member in members if member.pid is not None]
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        for pid in pids:
            try:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
            except ProcessLookupError:
                continue
