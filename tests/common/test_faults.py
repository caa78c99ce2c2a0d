"""Faults that come in a file while a process runs: they strike one process, once."""

import os
import signal
from pathlib import Path

import pytest

from common.runtime.errors import ConfigurationError
from common.runtime.faults import STRUCK_SUFFIX, VARIABLE, Faults, Step

HARMLESS = signal.SIGCONT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fault"


def faults(file: Path, worker: str = "boxes") -> Faults:
    return Faults.from_environment({VARIABLE: f"@{file}"}, worker)


def struck(file: Path) -> str | None:
    """The process that was hit."""
    path = file.with_name(file.name + STRUCK_SUFFIX)
    return path.read_text() if path.exists() else None


def test_a_fault_that_comes_later_strikes_at_its_passing_and_only_once(file: Path) -> None:
    process = faults(file)
    process.reached(Step.AFTER_SENDS)
    file.write_text(f"boxes:after_sends:2:{HARMLESS.name}\n")
    process.reached(Step.AFTER_BEGIN)
    process.reached(Step.AFTER_SENDS)
    assert struck(file) is None
    process.reached(Step.AFTER_SENDS)
    assert struck(file) == str(os.getpid())
    assert not file.exists()

    file.with_name(file.name + STRUCK_SUFFIX).unlink()
    for _ in range(3):
        process.reached(Step.AFTER_SENDS)
    assert struck(file) is None


def test_one_process_of_several_is_hit(file: Path) -> None:
    one, other = faults(file), faults(file)
    file.write_text(f"boxes:after_begin:1:{HARMLESS.name}")
    one.reached(Step.AFTER_SENDS)
    other.reached(Step.AFTER_SENDS)
    one.reached(Step.AFTER_BEGIN)
    file.with_name(file.name + STRUCK_SUFFIX).unlink()
    other.reached(Step.AFTER_BEGIN)
    assert struck(file) is None


def test_another_workers_fault_is_left_to_it(file: Path) -> None:
    file.write_text(f"pairs:after_begin:1:{HARMLESS.name}")
    faults(file).reached(Step.AFTER_BEGIN)
    assert file.exists()
    faults(file, "pairs").reached(Step.AFTER_BEGIN)
    assert struck(file)


def test_a_fault_that_is_none_says_so(file: Path) -> None:
    file.write_text("boxes:somewhere:1:SIGKILL")
    with pytest.raises(ConfigurationError, match="somewhere"):
        faults(file).reached(Step.AFTER_BEGIN)
