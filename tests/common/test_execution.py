"""One bad record costs one record, whatever the stage does."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from weakref import ReferenceType, ref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.health import Health
from common.kafka import ConsumedRecord, Partition
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit, CircuitOpenError
from common.runtime.errors import ConfigurationError, DeviceLostError, OutOfMemoryError, TransientError
from common.runtime.execution import Execution
from common.runtime.flight import Failed, Fetched, Finished, Loaded
from common.runtime.ownership import Assignment, Progress
from common.runtime.retry import Retry
from common.runtime.stage import Emit, Reject, Task
from common.settings import RuntimeSettings
from schemas.captions import Caption
from schemas.counters import OffsetMetadata
from schemas.edits import Edit
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.trail import ModelId

PARTITION = Partition("captions", 0)


class Reason(StrEnum):
    NO = "no"


class Other(StrEnum):
    NO = "no"


class Scripted:
    """Does with each caption what it says; counts its calls."""

    models: Sequence[ModelId] = ()

    def __init__(self, behave: Callable[[Sequence[str]], None] = lambda texts: None) -> None:
        self.calls: list[int] = []
        self._behave = behave

    def process(self, batch: Sequence[Task[Caption]]) -> Sequence[Emit[Edit] | Reject]:
        texts = [task.record.caption for task in batch]
        self.calls.append(len(texts))
        self._behave(texts)
        if "fail" in texts:
            raise ValueError("no such caption")
        return [self._outcome(task.record) for task in batch if task.record.caption != "forget"]

    def _outcome(self, caption: Caption) -> Emit[Edit] | Reject:
        match caption.caption:
            case "reject":
                return Reject(Reason.NO)
            case "foreign reason":
                return Reject(Other.NO)
            case "nothing":
                return Emit([])
        return Emit([caption.derive(Edit, 0, edited_caption=caption.caption)])


def execution(
    stage: Scripted, assignment: Assignment | None = None, *, accept_failures: bool = False, alone: bool = True
) -> Execution:
    settings = RuntimeSettings(retry_first_s=0.001, retry_max_s=0.01, accept_failures=accept_failures)
    health, metrics = Health(), WorkerMetrics("edits", "0", "test")
    circuit = Circuit(settings, health, metrics)
    retry = Retry(settings, health, metrics)
    return Execution(
        stage,
        Reason,
        retry,
        assignment or owning(),
        circuit=circuit,
        health=health,
        max_attempts=3,
        alone=lambda: alone,
    )


def owning() -> Assignment:
    assignment = Assignment(5)
    assignment.assigned([PARTITION])
    assignment.started(PARTITION, 1, Progress(0, OffsetMetadata()))
    return assignment


def loaded(text: str, position: int = 0) -> Loaded:
    fetched = Fetched(ConsumedRecord(PARTITION, position, None, b"", (), 0.0), 1)
    if text == "junk":
        return Loaded(fetched, InvalidRecord(InvalidReason.UNDECODABLE, "junk"))
    caption = Caption(id=f"c{position}", caption_id=f"c{position}", caption=text, source="s", position=position)
    return Loaded(fetched, Task(caption))


def said(finished: Finished) -> str:
    match finished.outcome:
        case Emit():
            return "pass"
        case Reject():
            return "reject"
        case Failed(reason=reason):
            return reason


@settings(deadline=None)  # up to a hundred tracebacks are written
@given(
    st.lists(st.sampled_from(["pass", "reject", "fail", "junk", "foreign reason", "nothing"]), min_size=1, max_size=24)
)
def test_every_record_gets_its_own_outcome_in_order(texts: list[str]) -> None:
    batch = [loaded(text, position) for position, text in enumerate(texts)]
    finished = execution(Scripted(), accept_failures=True).run(batch)
    expected = {"fail": "exception", "junk": "undecodable", "foreign reason": "exception", "nothing": "exception"}
    assert [said(f) for f in finished] == [expected.get(text, text) for text in texts]
    assert [f.loaded for f in finished] == batch


def test_a_culprit_among_many_is_found_in_few_calls() -> None:
    stage = Scripted()
    finished = execution(stage).run([loaded("fail" if n == 37 else "pass", n) for n in range(64)])
    assert sum(said(f) == "pass" for f in finished) == 63
    assert len(stage.calls) <= 2 * 6 + 1 + 2
    error = next(f.outcome.error for f in finished if isinstance(f.outcome, Failed))
    assert error is not None
    assert error.class_name == "builtins.ValueError"
    assert "no such caption" in error.message
    assert "process" in error.traceback


def test_a_whole_batch_that_fails_alike_is_given_up_before_it_is_split_to_the_end() -> None:
    stage = Scripted()
    with pytest.raises(CircuitOpenError, match=r"16 of the last 16 records failed with builtins\.ValueError"):
        execution(stage).run([loaded("fail", n) for n in range(256)])
    assert len(stage.calls) < 100


def test_a_stage_that_forgets_an_input_costs_only_that_input() -> None:
    finished = execution(Scripted()).run([loaded(text, n) for n, text in enumerate(["pass", "forget", "pass"])])
    assert [said(f) for f in finished] == ["pass", "exception", "pass"]


def test_out_of_memory_halves_and_remembers() -> None:
    def too_many(texts: Sequence[str]) -> None:
        if len(texts) > 5:
            raise OutOfMemoryError("full")

    stage = Scripted(too_many)
    run = execution(stage)
    assert [said(f) for f in run.run([loaded("pass", n) for n in range(32)])] == ["pass"] * 32
    stage.calls.clear()
    run.run([loaded("pass", n) for n in range(32)])
    assert max(stage.calls) <= 5


def test_one_record_alone_that_does_not_fit_is_poison() -> None:
    def never(texts: Sequence[str]) -> None:
        if "huge" in texts:
            raise MemoryError("full")

    texts = ["pass", "huge", "pass"]
    finished = execution(Scripted(never)).run([loaded(t, n) for n, t in enumerate(texts)])
    assert [said(f) for f in finished] == ["pass", "out_of_memory", "pass"]


def test_a_host_without_memory_for_a_record_among_others_is_held_against_nobody() -> None:
    """The prefetch and the store pool may have it all. A device's memory is the stage's own."""

    def full(error: Exception) -> Callable[[Sequence[str]], None]:
        def never(texts: Sequence[str]) -> None:
            raise error

        return never

    with pytest.raises(MemoryError):
        execution(Scripted(full(MemoryError("full"))), alone=False).run([loaded("pass", n) for n in range(3)])
    (finished,) = execution(Scripted(full(OutOfMemoryError("full"))), alone=False).run([loaded("pass")])
    assert said(finished) == "out_of_memory"


def test_what_is_transient_is_tried_again_and_never_dead_lettered() -> None:
    left = [5]

    def away(texts: Sequence[str]) -> None:
        if left[0]:
            left[0] -= 1
            raise TransientError("away")

    assert [said(f) for f in execution(Scripted(away)).run([loaded("pass")])] == ["pass"]


@pytest.mark.parametrize("error", [DeviceLostError("illegal access"), ConfigurationError("the key is refused")])
@pytest.mark.parametrize("count", [1, 3])
def test_what_is_no_records_fault_ends_everything(error: Exception, count: int) -> None:
    def broken(texts: Sequence[str]) -> None:
        raise error

    stage = Scripted(broken)
    with pytest.raises(type(error)):
        execution(stage).run([loaded("pass", n) for n in range(count)])
    assert stage.calls == [count]


def test_a_setting_that_turns_out_wrong_with_one_record_alone_is_not_that_records_fault() -> None:
    def refused(texts: Sequence[str]) -> None:
        raise ConfigurationError("the key is refused") if len(texts) == 1 else ValueError("some record")

    with pytest.raises(ConfigurationError):
        execution(Scripted(refused)).run([loaded("pass", n) for n in range(2)])


def library_error(name: str) -> type[RuntimeError]:
    return type(name, (RuntimeError,), {"__module__": "torch"})


@pytest.mark.parametrize(
    "error",
    [
        library_error("OutOfMemoryError")("CUDA out of memory. Tried to allocate 2.00 GiB"),
        library_error("AcceleratorError")("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_a_library_lacks_halves_the_batch(error: Exception) -> None:
    def full(texts: Sequence[str]) -> None:
        if len(texts) > 1:
            raise error

    run = execution(Scripted(full))
    assert [said(f) for f in run.run([loaded("pass", n) for n in range(4)])] == ["pass"] * 4
    assert run.largest_batch == 1


def test_a_device_that_a_library_lost_ends_everything() -> None:
    def lost(texts: Sequence[str]) -> None:
        raise library_error("AcceleratorError")("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceLostError, match="illegal memory access"):
        execution(Scripted(lost)).run([loaded("pass")])


class Activations:
    """Takes room as long as somebody holds it."""


@pytest.mark.parametrize("error", [MemoryError, ValueError])
def test_a_smaller_batch_has_the_room_of_the_one_that_failed(error: type[Exception]) -> None:
    held: list[ReferenceType[Activations]] = []

    def work(texts: Sequence[str]) -> None:
        assert [reference for reference in held if reference() is not None] == []
        activations = Activations()
        held.append(ref(activations))
        if len(texts) > 1:
            raise error("full") from KeyError("a cause")

    finished = execution(Scripted(work)).run([loaded("pass", n) for n in range(4)])
    assert [said(f) for f in finished] == ["pass"] * 4
    assert len(held) > 4


def test_a_revoke_while_waiting_lets_the_partition_go() -> None:
    assignment = owning()
    assignment.fetched(PARTITION, 1)
    assert assignment.begin(PARTITION, 1, 1)

    def away(texts: Sequence[str]) -> None:
        assignment.revoking([PARTITION])
        raise TransientError("away")

    assert execution(Scripted(away), assignment).run([loaded("pass")]) == []
    assert assignment.revoke_settled([PARTITION])
    assert not assignment.may_commit(PARTITION, 1)
