"""The demo's folder is empty at the start of each run, and one run's alone."""

from pathlib import Path

import pytest

from common.runtime.errors import ConfigurationError
from ops.demo.home import DemoHome


def test_what_an_earlier_run_left_is_gone(tmp_path: Path) -> None:
    home = DemoHome.under(tmp_path)
    with home.fresh():
        home.blobs.mkdir()
        home.log.write_text("old")
    assert home.log.exists()
    with home.fresh():
        assert list(home.root.iterdir()) == []


def test_files_beside_it_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    with DemoHome.under(tmp_path).fresh():
        assert (tmp_path / "dataset").is_dir()


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    home = DemoHome.under(tmp_path)
    with home.fresh():
        with pytest.raises(ConfigurationError, match="another demo runs in"), home.fresh():
            pass
        assert home.root.exists()


def test_a_folder_that_can_not_be_made_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"demo folder .*file"), DemoHome.under(tmp_path / "file").fresh():
        pass
