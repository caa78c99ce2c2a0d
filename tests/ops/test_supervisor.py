"""Programs die, and are started again; they are told to stop, and do."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from common.runtime.errors import ConfigurationError
from ops.supervisor import Backoff, Program, Supervisor

QUICK = Backoff(first_s=0.05, longest_s=0.2, reset_after_s=30)
FOREVER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def of(self, name: str) -> list[str]:
        """What it said, and what became of it."""
        return [line for who, line in self.lines if who == name and not line.startswith("started as process ")]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def supervisor(log: Log) -> Iterator[Supervisor]:
    made = Supervisor(log, QUICK)
    yield made
    made.stop(grace_s=0)


def program(code: str, name: str = "child", environment: Mapping[str, str] = {}, **fields: frozenset[str]) -> Program:
    return Program(name, (sys.executable, "-c", code), {**os.environ, **environment}, **fields)


def until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        supervisor.look()
        time.sleep(0.01)


def pid(supervisor: Supervisor) -> int | None:
    return supervisor.status()[0].pid


def test_a_killed_program_is_started_again(supervisor: Supervisor, log: Log) -> None:
    supervisor.start(program(FOREVER))
    until(supervisor, lambda: log.of("child") == ["up"])
    first = pid(supervisor)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(supervisor, lambda: log.of("child").count("up") == 2)
    assert pid(supervisor) not in {None, first}
    assert log.of("child")[1].startswith("ended with SIGKILL after 0.")
    assert supervisor.status()[0].starts == 2


def test_the_wait_doubles_with_each_death_and_a_long_life_ends_the_row() -> None:
    backoff = Backoff(first_s=0.5, longest_s=30, reset_after_s=60)
    assert [backoff.delay(deaths) for deaths in (1, 2, 3, 7, 8, 10_000)] == [0.5, 1, 2, 30, 30, 30]


@pytest.mark.parametrize(("reset_after_s", "row"), [(30.0, 3), (0.0, 1)])
def test_deaths_count_as_a_row_until_a_life_is_long_enough(log: Log, reset_after_s: float, row: int) -> None:
    supervisor = Supervisor(log, Backoff(first_s=0.01, longest_s=0.01, reset_after_s=reset_after_s))
    supervisor.start(program("raise SystemExit(75)"))
    until(supervisor, lambda: supervisor.status()[0].starts == 4)
    assert supervisor.status()[0].deaths_in_a_row == row
    supervisor.stop(grace_s=0)


def test_a_program_that_is_set_up_wrongly_is_not_started_again(supervisor: Supervisor) -> None:
    supervisor.start(program("print('setting `x`: wrong'); raise SystemExit(78)"))
    with pytest.raises(ConfigurationError, match="child can not run as it is set up: setting `x`: wrong"):
        until(supervisor, lambda: False)


def test_one_that_has_run_before_is_started_again_whatever_its_exit_code(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    code = f"import os, sys; m = {str(mark)!r}; sys.exit(78) if os.path.exists(m) else open(m, 'w'); sys.exit(1)"
    supervisor.start(program(code))
    until(supervisor, lambda: supervisor.status()[0].starts == 4)


def test_a_variable_for_the_first_start_does_not_reach_the_second(supervisor: Supervisor, log: Log) -> None:
    code = "import os; print(os.environ.get('FAULT'), os.environ['STAYS'])"
    environment = {"FAULT": "now", "STAYS": "here"}
    supervisor.start(program(code, environment=environment, first_start_only=frozenset({"FAULT"})))
    until(supervisor, lambda: supervisor.status()[0].starts >= 3)
    assert [line for line in log.of("child") if line.endswith("here")][:2] == ["now here", "None here"]


def test_stop_lets_a_program_finish(supervisor: Supervisor, log: Log) -> None:
    code = """
import signal, time
def leave(*_): print("finished", flush=True); raise SystemExit(0)
signal.signal(signal.SIGTERM, leave); print("up", flush=True); time.sleep(600)
"""
    supervisor.start(program(code))
    until(supervisor, lambda: log.of("child") == ["up"])
    assert supervisor.stop(grace_s=20)
    assert log.of("child") == ["up", "finished"]


def test_one_that_does_not_stop_is_killed_and_said_to_be(supervisor: Supervisor, log: Log) -> None:
    supervisor.start(program(STUBBORN))
    until(supervisor, lambda: log.of("child") == ["up"])
    number = pid(supervisor)
    assert number is not None
    assert not supervisor.stop(grace_s=0.3)
    assert log.of("child") == ["up", "still at work 0 s after SIGTERM: killed"]
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_second_order_to_stop_does_not_wait(supervisor: Supervisor, log: Log) -> None:
    supervisor.start(program(STUBBORN))
    until(supervisor, lambda: log.of("child") == ["up"])
    at_once = threading.Event()
    at_once.set()
    began = time.monotonic()
    assert not supervisor.stop(grace_s=60, at_once=at_once)
    assert time.monotonic() - began < 30
    assert log.of("child")[-1] == "told to stop at once: killed"


def test_a_command_that_does_not_exist_is_said_by_name(supervisor: Supervisor) -> None:
    with pytest.raises(ConfigurationError, match="cannot run /nowhere/python: No such file"):
        supervisor.start(Program("child", ("/nowhere/python",), {}))


def test_programs_hear_of_ctrl_c_from_the_supervisor_alone(supervisor: Supervisor, log: Log) -> None:
    supervisor.start(program("import os; print(os.getsid(0) == os.getpid())"))
    until(supervisor, lambda: bool(log.of("child")))
    assert log.of("child")[0] == "True"
