"""What each worker tells the runtime about itself."""

import subprocess
import sys
from typing import Any

import pytest

from common.runtime.spec import WorkerSpec
from schemas.counters import Counters, OffsetMetadata, ShardMark
from schemas.dead_letters import PoisonReason
from schemas.invalid import InvalidReason
from schemas.topics import ROUTES
from workers.boxes import WORKER as BOXES
from workers.edits import WORKER as EDITS
from workers.pairs import WORKER as PAIRS
from workers.qa import WORKER as QA
from workers.region_captions import WORKER as REGION_CAPTIONS

WORKERS = [EDITS, PAIRS, BOXES, REGION_CAPTIONS, QA]


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.route.worker)
def test_a_worker_reads_the_record_of_its_input_topic(worker: WorkerSpec[Any]) -> None:
    assert worker.route in ROUTES
    assert worker.reads.topic == worker.route.reads


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.route.worker)
def test_all_settings_have_defaults(worker: WorkerSpec[Any]) -> None:
    assert worker.settings().batch_size == 16


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.route.worker)
def test_counters_of_every_reason_fit_the_metadata_of_an_offset(worker: WorkerSpec[Any]) -> None:
    largest = 2**53
    counters = Counters(
        consumed=largest,
        passed=largest,
        outputs=largest,
        rejected={reason.value: largest for reason in worker.reasons},
        failed={reason.value: largest for kind in (InvalidReason, PoisonReason) for reason in kind},
    )
    OffsetMetadata(counters=counters, shard=ShardMark(token="t" * 32, name="n" * 200)).encode()


def test_knowing_the_workers_loads_no_stage_and_no_dictionary() -> None:
    code = (
        "import sys, workers.edits, workers.pairs, workers.boxes, workers.region_captions, workers.qa;"
        "print([name for name in sys.modules if name.endswith('.stage') and name.startswith('workers')"
        " or name in ('lemminflect', 'torch', 'common.models.sketch')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
