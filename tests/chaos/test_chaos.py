"""A short run: one fault of each family on two streams. `make chaos` has the rest."""

from pathlib import Path

import pytest

from tests.chaos import plan, report
from tests.chaos.faults import Family
from tests.chaos.harness import Harness

SEED = 1
STREAMS = 2


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_one_fault_of_each_family_loses_and_doubles_nothing(tmp_path: Path) -> None:
    planned = plan.one_of_each_family(plan.faults(SEED, plan.all_once()))
    assert {fault.kind.family for fault in planned} == set(Family)
    run = report.Run.of("pytest", STREAMS, Harness(SEED, planned, STREAMS, tmp_path).run)
    assert not run.findings, f"seed {SEED}, see {tmp_path / 'failures'}: {run.findings[:5]}"
    assert run.tried == len(planned)
