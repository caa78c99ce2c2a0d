"""The settings of a demo: the user's, with the demo's own folders and names over them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from common.settings import Layers, Tree
from ops.cli.options import SettingsOptions
from ops.demo.home import DemoHome

BOOTSTRAP = "kafka.bootstrap_servers"

IMPOSED = ("prefix", "blobs.url", "dataset.url", "runtime.lock_folder")
"""What each run has of its own."""

SUGGESTED: Mapping[str, str] = {
    # Few, so that a few hundred captions make batches worth the name.
    "topics.partitions": "6",
    # Whoever is killed is missed for no longer than this.
    "runtime.session_timeout_s": "10",
    # The last rows of the dataset wait no longer for company.
    "dataset.batch_wait_s": "1",
}
"""What suits a short run; a user's own setting goes before it."""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The settings of one run. `own_cluster` says that the user named a Kafka cluster of theirs."""

    options: SettingsOptions
    layers: Layers
    own_cluster: bool


def demo_settings(given: SettingsOptions, home: DemoHome) -> DemoSettings:
    """Settings for a new run: a prefix that no run had before, folders under `home`. Raises ConfigurationError."""
    layers = given.layers()
    suggested = [f"{key}={value}" for key, value in SUGGESTED.items() if not _chosen(layers, key)]
    imposed = [f"{key}={value}" for key, value in _imposed(layers, home).items()]
    options = replace(given, flags=(*suggested, *given.flags, *imposed))
    return DemoSettings(options, options.layers(), own_cluster=_chosen(layers, BOOTSTRAP))


def on_broker(settings: DemoSettings, bootstrap_servers: str) -> DemoSettings:
    """The same settings for the broker at this address."""
    options = replace(settings.options, flags=(*settings.options.flags, f"{BOOTSTRAP}={bootstrap_servers}"))
    return replace(settings, options=options, layers=options.layers())


def write_settings(settings: DemoSettings, path: Path) -> None:
    """Leave a settings file with which other commands find the run's records, pictures and dataset."""
    values = settings.layers.values
    found = {key: _value(values, key) for key in (*IMPOSED, *SUGGESTED, *([BOOTSTRAP] if settings.own_cluster else []))}
    # TOML's basic strings are JSON's.
    path.write_text("".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in found.items()))


def _imposed(layers: Layers, home: DemoHome) -> dict[str, str]:
    values = (f"{layers.common().prefix}-demo-{uuid4().hex[:8]}", home.blobs, home.dataset, home.locks)
    return {key: str(value) for key, value in zip(IMPOSED, values, strict=True)}


def _value(values: Tree, key: str) -> str:
    """The text that stands under a dotted key."""
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return str(found)


def _chosen(layers: Layers, key: str) -> bool:
    """Whether the user gave this setting, be it in a file, the environment or a flag."""
    origin = layers.origins.get(key)
    return origin is not None and not origin.startswith("profile ")
