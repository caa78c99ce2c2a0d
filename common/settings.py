"""Settings: profile < file < environment < flags, with the origin of every value. Unknown keys are errors."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from common.runtime.errors import ConfigurationError
from schemas.topics import INGEST, ROUTES

ENVIRONMENT_PREFIX = "IMGDIFF_"
FILE_VARIABLE = "IMGDIFF_SETTINGS"
NOT_SETTINGS = frozenset({FILE_VARIABLE, "IMGDIFF_FAULT", "IMGDIFF_INSTANCE"})
"""Variables with our prefix that are no settings: the file to read, injected faults, this process's name."""

Tree = dict[str, Any]


class Section(BaseModel):
    """A group of settings. An unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


class KafkaSettings(Section):
    """Where the cluster is and how to log in. The security settings go to the client as they are."""

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_check_hostname: bool = True


class TopicSettings(Section):
    """How `imgdiff topics create` makes the topics. All topics have the same number of partitions."""

    partitions: int = Field(default=48, ge=1, le=1_000)
    replication_factor: int = Field(default=1, ge=1, le=10)
    retention_hours: int = Field(default=168, ge=1)
    dead_letter_retention_hours: int = Field(default=720, ge=1)


class BlobSettings(Section):
    """The object store: an fsspec URL (`file:///...`, `s3://bucket/path`) and options for its file system."""

    url: str = ".imgdiff/blobs"
    options: dict[str, Any] = {}
    max_pixels: int = Field(default=16_777_216, ge=1)
    max_bytes: int = Field(default=33_554_432, ge=1)


class RuntimeSettings(Section):
    """How every worker runs. Times are in seconds."""

    drain_budget_s: float = Field(default=30.0, ge=0)
    """How long work in flight may take to finish on a revoke or on SIGTERM before it is dropped and done again elsewhere."""
    session_timeout_s: float = Field(default=30.0, ge=6)
    transaction_timeout_s: float = Field(default=15.0, ge=1)
    transaction_watchdog_s: float = Field(default=30.0, ge=1)
    broker_patience_s: float = Field(default=120.0, ge=1)
    max_attempts: int = Field(default=3, ge=1, le=100)
    retry_first_s: float = Field(default=0.5, gt=0)
    retry_max_s: float = Field(default=30.0, gt=0)
    prefetch_threads: int = Field(default=4, ge=1, le=64)
    prefetch_batches: int = Field(default=2, ge=1, le=64)
    """How many batches may wait, fetched and decoded, in front of the stage."""
    store_threads: int = Field(default=4, ge=1, le=64)
    lock_folder: Path = Path(".imgdiff/locks")
    """Where the workers of this machine agree on their names."""
    accept_loss: bool = False
    """Go on where a committed offset lies below the start of the log, that is where records expired unread."""


class HttpSettings(Section):
    """Where a worker answers /metrics, /livez and /readyz; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)


class ModelSettings(Section):
    """Which adapter stands behind a protocol, and the options that the adapter takes."""

    adapter: str
    options: dict[str, Any] = {}


class ModelsSettings(Section):
    """One adapter per protocol of common/models/protocols.py. The profile fills them in."""

    caption_editor: ModelSettings
    pair_generator: ModelSettings
    image_encoder: ModelSettings
    text_encoder: ModelSettings
    segmenter: ModelSettings
    image_text_matcher: ModelSettings
    region_describer: ModelSettings
    difference_describer: ModelSettings


class SketchSettings(Section):
    """The `sketch` profile's own; `delay_s` makes every call of its models slow, as a GPU's would be."""

    delay_s: float = Field(default=0.0, ge=0)


class StageSettings(Section):
    """What the section of every worker has."""

    batch_size: int = Field(default=16, ge=1, le=10_000)
    batch_wait_s: float = Field(default=0.2, ge=0)
    """How long a batch that is not full waits for more records."""


class CommonSettings(Section):
    """What every part of the system reads."""

    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "imgdiff"
    profile: str = "sketch"
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    blobs: BlobSettings = BlobSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    http: HttpSettings = HttpSettings()
    models: ModelsSettings
    sketch: SketchSettings = SketchSettings()


def section_of(worker: str) -> str:
    """The name of a worker's section: its name with underscores."""
    return worker.replace("-", "_")


SECTIONS = frozenset({section_of(route.worker) for route in ROUTES} | {INGEST})
"""Sections that belong to one worker (or to ingest) and are checked by it."""


@dataclass(frozen=True, slots=True)
class Layers:
    """All layers merged, and where each value came from, by dotted key."""

    values: Tree
    origins: Mapping[str, str]

    def common(self) -> CommonSettings:
        """The common settings. Raises ConfigurationError naming the setting."""
        return self._validate(CommonSettings, {k: v for k, v in self.values.items() if k not in SECTIONS}, "")

    def section(self, name: str, kind: type[SectionT]) -> SectionT:
        """One worker's section. Raises ConfigurationError naming the setting."""
        return self._validate(kind, self.values.get(name, {}), f"{name}.")

    def _validate(self, kind: type[SectionT], values: Any, prefix: str) -> SectionT:
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = prefix + ".".join(str(part) for part in problem["loc"])
            origin = next((o for k, o in self.origins.items() if k == key or k.startswith(f"{key}.")), "the defaults")
            hidden = any(word in key for word in ("password", "secret", "token"))
            found = "" if hidden or problem["type"] == "missing" else f", found {problem['input']!r}"
            raise ConfigurationError(f"setting `{key}` (from {origin}): {problem['msg']}{found}") from error


def load_layers(
    environ: Mapping[str, str], file: Path | None = None, flags: Sequence[str] = (), profile: str | None = None
) -> Layers:
    """Merge the layers. `flags` are `key.path=value` assignments; `file` defaults to $IMGDIFF_SETTINGS.

    Raises ConfigurationError naming the file, variable or flag that is wrong.
    """
    if file is None and environ.get(FILE_VARIABLE):
        file = Path(environ[FILE_VARIABLE])
    upper = [
        *([(f"file {file}", _read_file(file))] if file is not None else []),
        *_environment_layers(environ),
        *_flag_layers(flags),
        *([("--profile", {"profile": profile})] if profile else []),
    ]
    chosen = next((str(tree["profile"]) for _, tree in reversed(upper) if "profile" in tree), "sketch")
    merged: Tree = {}
    origins: dict[str, str] = {}
    for origin, tree in [(f"profile {chosen}", _read_profile(chosen)), *upper]:
        _check_top_level(tree, origin)
        _merge(merged, tree, origin, origins)
    merged.setdefault("profile", chosen)
    return Layers(merged, origins)


def settings_digest(*sections: Section) -> str:
    """12 hex digits that change whenever a value of these sections changes."""
    text = json.dumps([section.model_dump(mode="json") for section in sections], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def profile_names() -> list[str]:
    """The profiles that ship with the package."""
    files = (resources.files("common") / "profiles").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def _read_profile(name: str) -> Tree:
    if name not in profile_names():
        raise ConfigurationError(f"setting `profile`: found {name!r}, expected one of {', '.join(profile_names())}")
    return tomllib.loads((resources.files("common") / "profiles" / f"{name}.toml").read_text())


def _read_file(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"settings file {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"settings file {path}: not TOML: {error}") from error


def _environment_layers(environ: Mapping[str, str]) -> list[tuple[str, Tree]]:
    return [
        (f"environment {name}", _tree_of(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), text))
        for name, text in sorted(environ.items())
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS
    ]


def _flag_layers(flags: Sequence[str]) -> list[tuple[str, Tree]]:
    layers = []
    for flag in flags:
        key, equals, text = flag.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"--set {flag}: expected KEY=VALUE, such as boxes.pair_similarity.low=0.88")
        layers.append((f"--set {key}", _tree_of(key.replace("-", "_").split("."), text)))
    return layers


def _tree_of(path: Sequence[str], text: str) -> Tree:
    value: Any = text
    if text[:1] in {"{", "["}:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"setting `{'.'.join(path)}`: not JSON: {error}, found {text[:80]!r}") from error
    for part in reversed(path):
        value = {part: value}
    tree: Tree = value
    return tree


def _check_top_level(tree: Tree, origin: str) -> None:
    known = set(CommonSettings.model_fields) | SECTIONS
    for key in tree:
        if key not in known:
            raise ConfigurationError(f"{origin}: unknown setting `{key}`, expected one of {', '.join(sorted(known))}")


def _merge(into: Tree, tree: Tree, origin: str, origins: dict[str, str], prefix: str = "") -> None:
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict):
            below = into.get(key)
            if not isinstance(below, dict):
                below = into[key] = {}
            _merge(below, value, origin, origins, f"{dotted}.")
        else:
            into[key] = value
            origins[dotted] = origin
