"""The file for Prometheus: there while the workers run, and whole whenever it is read."""

import json
from pathlib import Path

import pytest

from common.runtime.errors import ConfigurationError
from ops.up.programs import WorkerPrograms
from ops.up.targets import prometheus_targets


def test_it_names_every_worker_and_goes_with_them(tmp_path: Path) -> None:
    path = tmp_path / "prometheus" / "targets.json"
    workers = list(WorkerPrograms([], {}).all({"boxes": 2}))
    with prometheus_targets(path, "127.0.0.1", workers):
        groups = json.loads(path.read_text())
        assert [entry.name for entry in path.parent.iterdir()] == ["targets.json"]
    assert len(groups) == 7
    assert groups[3] == {
        "targets": [f"127.0.0.1:{workers[3].port}"],
        "labels": {"worker": "boxes", "process": "boxes.2"},
    }
    assert list(path.parent.iterdir()) == []


def test_it_goes_too_when_something_breaks(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    with pytest.raises(RuntimeError, match="broken"), prometheus_targets(path, "127.0.0.1", []):
        raise RuntimeError("broken")
    assert not path.exists()


def test_a_place_that_can_not_be_written_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigurationError, match=r"targets file .*file/targets.json"),
        prometheus_targets(tmp_path / "file" / "targets.json", "127.0.0.1", []),
    ):
        pass
