"""When it is not the records."""

import threading

import pytest

from common.health import Health
from common.metrics import WorkerMetrics
from common.runtime.circuit import Circuit, CircuitOpenError
from common.runtime.flight import Failed, Outcome
from common.runtime.stage import Emit
from common.settings import RuntimeSettings
from schemas.dead_letters import DeadLetterKind, ErrorInfo, PoisonReason
from schemas.invalid import InvalidReason

PASSED: Outcome = Emit([])
INVALID = Failed(DeadLetterKind.INVALID, InvalidReason.UNDECODABLE)
CRASH = Failed(DeadLetterKind.POISON, PoisonReason.CRASH)


def failed(error: str = "ValueError") -> Failed:
    return Failed(DeadLetterKind.POISON, PoisonReason.EXCEPTION, error=ErrorInfo(error, "", ""))


@pytest.fixture
def health() -> Health:
    health = Health()
    health.resumed("start")
    return health


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics("edits", "0", "test")


@pytest.fixture
def circuit(health: Health, metrics: WorkerMetrics) -> Circuit:
    return Circuit(RuntimeSettings(circuit_pause_s=0.001), health, metrics)


@pytest.fixture
def patient(health: Health, metrics: WorkerMetrics) -> Circuit:
    """Its pause outlasts the test."""
    return Circuit(RuntimeSettings(circuit_pause_s=60), health, metrics)


def trip(circuit: Circuit, *outcomes: Outcome) -> None:
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(outcomes)
    circuit.open(caught.value.alike)


def try_again(circuit: Circuit, *outcomes: Outcome) -> None:
    """A batch that was begun after the pause."""
    circuit.wait(threading.Event())
    circuit.admit(outcomes)


def test_four_fifths_of_the_last_twenty_are_too_many(circuit: Circuit) -> None:
    circuit.admit([PASSED] * 40 + [failed()] * 15)
    circuit.admit([PASSED])
    circuit.admit([PASSED] * 4 + [failed()] * 15)
    trip(circuit, failed())


def test_batches_count_together(circuit: Circuit) -> None:
    circuit.admit([failed()] * 8)
    circuit.admit([failed()] * 7)
    trip(circuit, failed())


def test_failures_that_differ_are_the_records_own(circuit: Circuit) -> None:
    circuit.admit([failed("ValueError"), failed("KeyError")] * 20)


def test_one_that_fails_among_others_is_none_of_this(circuit: Circuit) -> None:
    for _ in range(20):
        circuit.admit([PASSED] * 15 + [failed()])


def test_what_is_invalid_or_was_not_tried_counts_on_neither_side(circuit: Circuit) -> None:
    circuit.admit([INVALID] * 40 + [CRASH] * 40)
    circuit.admit([failed()] * 10 + [INVALID, CRASH] * 20 + [failed()] * 5)
    trip(circuit, INVALID, failed())


def test_what_was_not_let_through_is_not_counted(circuit: Circuit) -> None:
    trip(circuit, *[failed()] * 16)
    try_again(circuit, *[failed()] * 3, PASSED)
    circuit.admit([failed()] * 12)


def test_an_open_circuit_says_so_until_records_pass(circuit: Circuit, health: Health, metrics: WorkerMetrics) -> None:
    def shown() -> float | None:
        return metrics.registry.get_sample_value("imgdiff_circuit_open", {"stage": "edits"})

    assert shown() == 0
    trip(circuit, *[failed()] * 16)
    [why] = health.unready()
    assert "16 of the last 16 records failed with ValueError" in why
    assert "runtime.accept_failures" in why
    assert shown() == 1
    try_again(circuit, INVALID)
    assert shown() == 1
    try_again(circuit, PASSED)
    assert health.unready() == []
    assert shown() == 0


def test_a_batch_that_is_tried_is_judged_by_itself_however_small(circuit: Circuit, health: Health) -> None:
    trip(circuit, *[failed()] * 16)
    circuit.wait(threading.Event())
    trip(circuit, failed(), failed(), failed(), failed(), PASSED)
    assert health.unready()
    try_again(circuit, failed(), failed(), failed(), PASSED)
    assert not health.unready()


def test_a_batch_from_before_the_circuit_opened_does_not_close_it(patient: Circuit, health: Health) -> None:
    """It waited to be committed while the stage gave up the next one."""
    trip(patient, *[failed()] * 16)
    patient.admit([PASSED] * 16)
    assert health.unready()
    with pytest.raises(CircuitOpenError):
        patient.admit([failed()] * 12)


def test_one_record_that_fails_by_itself_does_not_keep_the_circuit_open(circuit: Circuit, health: Health) -> None:
    """With batches of one it would be tried again and again, and nothing behind it."""
    trip(circuit, *[failed()] * 16)
    try_again(circuit, failed())
    assert health.unready()
    try_again(circuit, PASSED)
    assert not health.unready()


def test_a_model_that_is_still_broken_costs_three_records_and_no_more(circuit: Circuit, health: Health) -> None:
    trip(circuit, *[failed()] * 16)
    for _ in range(3):
        try_again(circuit, failed())
    for _ in range(5):
        circuit.wait(threading.Event())
        trip(circuit, failed())
    assert health.unready()
    try_again(circuit, PASSED)
    assert not health.unready()


def test_who_accepts_failures_gets_them(health: Health, metrics: WorkerMetrics) -> None:
    circuit = Circuit(RuntimeSettings(accept_failures=True), health, metrics)
    circuit.admit([failed()] * 100)
    assert health.unready() == []


def test_the_pause_ends_with_the_worker(patient: Circuit) -> None:
    stopping = threading.Event()
    patient.wait(stopping)  # closed: no pause
    trip(patient, *[failed()] * 16)
    waiting = threading.Thread(target=patient.wait, args=(stopping,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    stopping.set()
    waiting.join(10)
    assert not waiting.is_alive()
