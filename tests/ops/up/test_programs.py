"""What a worker process is given."""

import sys

import pytest

from ops.up.programs import WorkerPrograms
from ops.workers import UnknownWorkerError


def test_every_worker_once_unless_told_otherwise() -> None:
    names = [each.program.name for each in WorkerPrograms([], {}).all({"boxes": 3, "qa": 0})]
    assert names == ["edits.1", "pairs.1", "boxes.1", "boxes.2", "boxes.3", "region-captions.1", "dataset.1"]


def test_a_worker_runs_as_a_module_with_the_options_for_settings() -> None:
    made = WorkerPrograms(["--set", "prefix=p"], {"HOME": "/h"}).next("region-captions").program
    assert made.command == (sys.executable, "-m", "workers.region_captions", "--set", "prefix=p")
    assert made.environment["HOME"] == "/h"
    assert made.first_start_only == {"IMGDIFF_FAULT"}


def test_ports_are_free_and_each_is_given_once() -> None:
    programs = WorkerPrograms([], {})
    workers = [programs.next("boxes") for _ in range(30)]
    assert len({worker.port for worker in workers}) == 30
    assert [int(worker.program.environment["IMGDIFF_HTTP__PORT"]) for worker in workers] == [w.port for w in workers]


@pytest.mark.parametrize("variable", ["IMGDIFF_INSTANCE", "POD_NAME"])
def test_several_workers_under_one_name_get_names_of_their_own(variable: str) -> None:
    programs = WorkerPrograms([], {variable: "pod-7"})
    given = [programs.next("boxes").program.environment["IMGDIFF_INSTANCE"] for _ in range(2)]
    assert given == ["pod-7-1", "pod-7-2"]


def test_without_a_name_workers_find_their_own() -> None:
    assert "IMGDIFF_INSTANCE" not in WorkerPrograms([], {}).next("boxes").program.environment


def test_an_unknown_worker_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownWorkerError, match="no worker 'bxes', expected one of edits, pairs, boxes"):
        WorkerPrograms([], {}).next("bxes")


def test_workers_take_turns_on_the_devices_of_their_stage() -> None:
    programs = WorkerPrograms([], {}, devices={"boxes": ["cuda:0", "cuda:1"]})
    commands = [programs.next(worker).program.command for worker in ("boxes", "boxes", "boxes", "qa")]
    assert [list(command[3:]) for command in commands] == [
        ["--device", "cuda:0"],
        ["--device", "cuda:1"],
        ["--device", "cuda:0"],
        [],
    ]
