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
    return Circuit(RuntimeSettings(circuit_pause_s=60), health, metrics)


def trip(circuit: Circuit, *outcomes: Outcome) -> None:
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(outcomes)
    circuit.open(caught.value.alike)


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
    circuit.admit([failed()] * 3 + [PASSED])
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
    circuit.admit([INVALID])
    assert shown() == 1
    circuit.admit([PASSED])
    assert health.unready() == []
    assert shown() == 0


def test_a_batch_that_is_tried_is_judged_by_itself_however_small(circuit: Circuit, health: Health) -> None:
    trip(circuit, *[failed()] * 16)
    trip(circuit, failed(), failed(), failed(), failed(), PASSED)
    assert health.unready()
    circuit.admit([failed(), failed(), failed(), PASSED])
    assert not health.unready()


def test_who_accepts_failures_gets_them(health: Health, metrics: WorkerMetrics) -> None:
    circuit = Circuit(RuntimeSettings(accept_failures=True), health, metrics)
    circuit.admit([failed()] * 100)
    assert health.unready() == []


def test_the_pause_ends_with_the_worker(circuit: Circuit) -> None:
    stopping = threading.Event()
    circuit.wait(stopping)  # closed: no pause
    trip(circuit, *[failed()] * 16)
    waiting = threading.Thread(target=circuit.wait, args=(stopping,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    stopping.set()
    waiting.join(10)
    assert not waiting.is_alive()
