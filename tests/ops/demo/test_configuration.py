"""The settings of a demo: the user's go first, but for what each run needs of its own."""

import tomllib
from pathlib import Path

import pytest

from common.settings import load_layers
from ops.cli.options import SettingsOptions
from ops.demo.configuration import demo_settings, on_broker, write_settings
from ops.demo.home import DemoHome


@pytest.fixture
def home(tmp_path: Path) -> DemoHome:
    return DemoHome.under(tmp_path)


def test_each_run_has_names_and_folders_of_its_own(home: DemoHome) -> None:
    first, second = (demo_settings(SettingsOptions(), home).layers.common() for _ in range(2))
    assert first.prefix.startswith("imgdiff-demo-")
    assert first.prefix != second.prefix
    assert first.blobs.url == str(home.root / "blobs")
    assert first.topics.partitions == 6
    assert first.runtime.session_timeout_s == 10


def test_a_user_s_setting_goes_before_what_is_only_suggested(home: DemoHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGDIFF_RUNTIME__SESSION_TIMEOUT_S", "20")
    made = demo_settings(SettingsOptions(flags=("topics.partitions=2", "prefix=mine", "blobs.url=s3://b")), home)
    common = made.layers.common()
    assert (common.topics.partitions, common.runtime.session_timeout_s) == (2, 20)
    assert common.prefix.startswith("mine-demo-")
    assert common.blobs.url == str(home.blobs)


def test_a_cluster_that_the_user_names_is_the_user_s_own(home: DemoHome, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not demo_settings(SettingsOptions(), home).own_cluster
    monkeypatch.setenv("IMGDIFF_KAFKA__BOOTSTRAP_SERVERS", "theirs:9092")
    made = demo_settings(SettingsOptions(), home)
    assert made.own_cluster
    assert made.layers.common().kafka.bootstrap_servers == "theirs:9092"


def test_the_demo_s_own_broker_is_found_by_workers_and_by_itself(home: DemoHome) -> None:
    made = on_broker(demo_settings(SettingsOptions(), home), "127.0.0.1:20000")
    assert made.layers.common().kafka.bootstrap_servers == "127.0.0.1:20000"
    assert "kafka.bootstrap_servers=127.0.0.1:20000" in made.options.arguments()


def test_other_commands_find_the_run_by_the_file_that_it_leaves(home: DemoHome, tmp_path: Path) -> None:
    made = on_broker(demo_settings(SettingsOptions(), home), "127.0.0.1:20000")
    path = tmp_path / "settings.toml"
    write_settings(made, path)
    # The broker's port is another one after a restart, so it is not in the file.
    assert "kafka" not in tomllib.loads(path.read_text())
    found, expected = load_layers({}, path).common(), made.layers.common()
    assert (found.prefix, found.blobs, found.topics) == (expected.prefix, expected.blobs, expected.topics)
