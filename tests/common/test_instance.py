"""A worker's name: its own among all that run, and the same after a restart."""

import socket
from pathlib import Path

import pytest

from common.runtime.errors import ConfigurationError
from common.runtime.instance import Instance

GROUP = "imgdiff.edits"


def test_in_a_pod_it_is_the_pods_name(tmp_path: Path) -> None:
    assert Instance.claim({"POD_NAME": "edits-3"}, tmp_path, GROUP).name == "edits-3"


def test_a_name_that_is_given_goes_over_the_pods(tmp_path: Path) -> None:
    assert Instance.claim({"POD_NAME": "edits-3", "IMGDIFF_INSTANCE": "mine"}, tmp_path, GROUP).name == "mine"


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="IMGDIFF_INSTANCE: found 'a b'"):
        Instance.claim({"IMGDIFF_INSTANCE": "a b"}, tmp_path, GROUP)


def test_elsewhere_it_is_the_host_and_the_lowest_number_that_is_free(tmp_path: Path) -> None:
    first, second, third = (Instance.claim({}, tmp_path, GROUP) for _ in range(3))
    assert [one.name.rpartition("-")[2] for one in (first, second, third)] == ["0", "1", "2"]
    assert first.name.startswith(socket.gethostname()[:8])
    with second:
        pass
    again = Instance.claim({}, tmp_path, GROUP)
    assert again.name == second.name
    for one in (first, third, again):
        one.__exit__()


def test_two_checkouts_of_one_host_share_no_name(tmp_path: Path) -> None:
    with Instance.claim({}, tmp_path / "one", GROUP) as here, Instance.claim({}, tmp_path / "other", GROUP) as there:
        assert here.name != there.name


def test_workers_of_different_stages_do_not_count_each_other(tmp_path: Path) -> None:
    with Instance.claim({}, tmp_path, GROUP) as edits, Instance.claim({}, tmp_path, "imgdiff.pairs") as pairs:
        assert edits.name == pairs.name
