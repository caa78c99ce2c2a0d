"""Settings: profile < file < environment < flags, with the origin of every value. Unknown keys are errors."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from common.runtime.errors import ConfigurationError
from common.secrets import SECRETS
from schemas.base import Frozen
from schemas.scores import Bounds
from schemas.topics import INGEST, ROUTES

ENVIRONMENT_PREFIX = "IMGDIFF_"
FILE_VARIABLE = "IMGDIFF_SETTINGS"
NOT_SETTINGS = frozenset({FILE_VARIABLE, "IMGDIFF_FAULT", "IMGDIFF_INSTANCE"})
"""Variables with our prefix that are no settings: the file to read, injected faults, this process's name."""

Tree = dict[str, Any]

MAX_DEPTH = 32
"""Levels of tables and lists in a layer; the settings have five."""

NONE = "none"
"""How a layer says that an optional setting has no value: TOML and environment variables have no null."""

FILE_SUFFIX = "_file"
"""A secret may lie in a file: `sasl_plain_password_file` names the one that `sasl_plain_password` is read from."""

MAX_SECRET_BYTES = 64 * 1024

_SECRET = re.compile(
    r"password|passphrase|secret|token(?!s)|credential|(api|access|account|private|shared)_?key"
    r"|connection_?string|authorization|(^|\.)(key|sas)$",
    re.IGNORECASE,
)
"""`max_new_tokens` is a number of tokens and none; `key` alone is how object stores call theirs, `ssl_keyfile` a path."""

_LOGIN_IN_URL = re.compile(r"(?<=://)[^/\s]+(?=@)")


class Section(BaseModel):
    """A group of settings. An unknown key is an error. The docstring under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _over_the_defaults(cls, values: Any) -> Any:
        """A table that gives one side of some bounds leaves the other side as it is by default, not open.

        `none` opens a side, as it takes the value from every other setting that may go without one.
        """
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        defaults = {key: field.default for key, field in fields.items() if isinstance(field.default, Frozen)}
        return {
            key: {**defaults[key].model_dump(), **_without_none(value)}
            if key in defaults and isinstance(value, dict)
            else None
            if value == NONE and key in fields and NoneType in get_args(fields[key].annotation)
            else value
            for key, value in values.items()
        }


SectionT = TypeVar("SectionT", bound=Section)


_SERVER = re.compile(r"(?:[^\s:,/\[\]]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):([0-9]{1,5})")
"""A host, or an IPv6 address in brackets, and a port."""


class KafkaSettings(Section):
    """Where the cluster is and how to log in. The security settings go to the client as they are."""

    bootstrap_servers: str = "127.0.0.1:9092"
    """Brokers to begin with, `host:port`, comma-separated; an IPv6 address stands in brackets."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How connections are secured."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in where the protocol has SASL."""
    sasl_plain_username: str | None = None
    """The user to log in as."""
    sasl_plain_password: SecretStr | None = None
    """That user's password. Never shown. `sasl_plain_password_file` names a file that it is read from."""
    ssl_cafile: Path | None = None
    """PEM file of the authorities to trust; without one, those of the system."""
    ssl_certfile: Path | None = None
    """PEM file of this client's certificate, where the cluster asks for one."""
    ssl_keyfile: Path | None = None
    """PEM file of the key of that certificate."""
    ssl_check_hostname: bool = True
    """Whether the broker's certificate has to name the host that was asked for."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _hosts_with_ports(cls, value: str) -> str:
        """What is no address would be waited for like a broker that is down."""
        found = [_SERVER.fullmatch(server.strip()) for server in value.split(",")]
        if not all(match is not None and 0 < int(match[1]) < 65_536 for match in found):
            raise PydanticCustomError("bootstrap_servers", "expected host:port[,host:port]")
        return value

    @model_validator(mode="after")
    def _complete_login(self) -> Self:
        if self.security_protocol.startswith("SASL_"):
            names = ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
            missing = [f"`{name}`" for name in names if getattr(self, name) is None]
            if missing:
                raise ValueError(f"`security_protocol` {self.security_protocol} needs {', '.join(missing)}")
        return self


class TopicSettings(Section):
    """How `imgdiff topics create` makes the topics. All topics have the same number of partitions."""

    partitions: int = Field(default=48, ge=1, le=1_000)
    """Of every topic: the most processes that can share a stage. A number with many divisors shares evenly."""
    replication_factor: int = Field(default=1, ge=1, le=10)
    """Copies of every partition. A cluster of several brokers should keep 3."""
    retention_hours: int = Field(default=168, ge=1)
    """How long records are kept: the longest time a worker may be away without loss."""
    dead_letter_retention_hours: int = Field(default=720, ge=1)
    """How long dead letters are kept."""


class BlobSettings(Section):
    """The object store: an fsspec URL (`file:///...`, `s3://bucket/path`) and options for its file system."""

    url: str = ".imgdiff/blobs"
    """A folder, or an fsspec URL such as s3://bucket/path."""
    options: dict[str, Any] = {}
    """For the file system of fsspec that serves the URL."""
    max_pixels: int = Field(default=16_777_216, ge=1)
    """The largest picture that is stored or decoded, in pixels."""
    max_bytes: int = Field(default=33_554_432, ge=1)
    """The largest encoded picture that is stored or read, in bytes."""


class RuntimeSettings(Section):
    """How every worker runs. Times are in seconds."""

    drain_budget_s: float = Field(default=30.0, ge=0)
    """How long work in flight may take to finish on a revoke or on SIGTERM before it is dropped and done again elsewhere."""
    session_timeout_s: float = Field(default=30.0, ge=6)
    """How long the group waits for a worker that went silent before it gives its partitions to others."""
    transaction_timeout_s: float = Field(default=15.0, ge=1)
    """How long the broker keeps a transaction open that its worker does not end."""
    transaction_watchdog_s: float = Field(default=30.0, ge=1)
    """How long a transaction may hang, while the broker can be reached, before the worker ends itself."""
    stage_timeout_s: float = Field(default=3_600.0, gt=0)
    """How long one call of the stage may take before it counts as hung, and the worker ends itself."""
    broker_patience_s: float = Field(default=120.0, ge=1)
    """How long the broker may be unreachable before the worker ends itself."""
    max_attempts: int = Field(default=3, ge=1, le=100)
    """How often a record that fails alone is tried before it becomes a dead letter."""
    retry_first_s: float = Field(default=0.5, gt=0)
    """Upper bound of the first wait after a transient error; it doubles from one attempt to the next."""
    retry_max_s: float = Field(default=30.0, gt=0)
    """Upper bound of every such wait, also where an endpoint asks for a longer one (`Retry-After`)."""
    prefetch_threads: int = Field(default=4, ge=1, le=64)
    """Threads that decode records and fetch their pictures."""
    prefetch_batches: int = Field(default=2, ge=1, le=64)
    """How many batches may wait, fetched and decoded, in front of the stage."""
    store_threads: int = Field(default=4, ge=1, le=64)
    """Threads that encode and store pictures."""
    lock_folder: Path = Path(".imgdiff/locks")
    """Where the workers of this machine agree on their names."""
    accept_loss: bool = False
    """Go on where records expired unread, and where the broker has forgotten a group's offsets: some work is then repeated."""
    circuit_pause_s: float = Field(default=30.0, gt=0)
    """How long a worker pauses when most of the last records failed alike, before it tries again."""
    accept_failures: bool = False
    """Go on where most of the last records failed alike, with a dead letter for each."""


class HttpSettings(Section):
    """Where a worker answers /metrics, /livez and /readyz; port 0 takes a free one."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all."""
    port: int = Field(default=0, ge=0, le=65_535)
    """The port to listen on, 0 for a free one. Every worker process of a machine needs one of its own."""


class WeightsSource(Section):
    """Where the files of a model come from: the hub, a folder, or for a single file any place on the web."""

    id: str
    """The model's id on the hub, `owner/name`. With `path` or `url` it is only the name that goes into the trail."""
    revision: str = "main"
    """Branch, tag or commit on the hub. `imgdiff models download` writes the commit that it found into the lock file."""
    path: Path | None = None
    """A folder with the files in the hub's layout, in place of the hub."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """Where a model lies that is one file and not on the hub; `files` then is its name."""
    files: tuple[str, ...] = ("*",)
    """The files that are needed: names, or patterns such as `*.safetensors`."""

    @model_validator(mode="after")
    def _one_file_of_a_url(self) -> Self:
        if self.url is not None and (len(self.files) != 1 or any(character in self.files[0] for character in "*?[/")):
            raise ValueError("with a `url`, `files` has to be the name of one file")
        return self


class ModelSettings(Section):
    """Which adapter stands behind a protocol, its weights, and the options that the adapter takes."""

    adapter: str
    """The name of the adapter. Where it is not the profile's, the profile's weights and options are left out with it, but
    for `prompt` and `decoding`."""
    weights: WeightsSource | None = None
    """Where its weights come from, if it has any."""
    options: dict[str, Any] = {}
    """What the adapter takes."""


class ComputeSettings(Section):
    """On what, and in which numbers, the models of a worker compute. The profile `sketch` needs none of it."""

    device: Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """`cpu`, `cuda` or one device such as `cuda:1`. A device that is not there is an error, never another device."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """The numbers that weights and activations are kept in."""
    quantization: Literal["8bit", "4bit"] | None = None
    """Load the language models in 8 or 4 bits (bitsandbytes); other models go on in `dtype`."""

    @property
    def language_numbers(self) -> str:
        """What the language models compute in, for the trail."""
        return self.dtype if self.quantization is None else f"{self.dtype}, {self.quantization}"


class WeightsSettings(Section):
    """Where weights lie on this machine, and what they have to be."""

    folder: Path = Path(".imgdiff/weights")
    """`imgdiff models download` puts each model into `owner/name` below it."""
    lock_file: Path = Path(".imgdiff/weights.lock.json")
    """Revision, size and SHA-256 of every downloaded file. A worker refuses files that differ from it."""
    hub: str | None = None
    """URL of a mirror of the hub; without one, the hub's own."""


class ModelsSettings(Section):
    """One adapter per protocol of common/models/protocols.py. The profile fills them in."""

    caption_editor: ModelSettings
    """Rewrites a caption so that one object is another."""
    pair_generator: ModelSettings
    """Draws the two pictures of an edit."""
    image_encoder: ModelSettings
    """Measures how alike two pictures are."""
    text_encoder: ModelSettings
    """Measures how alike two texts are."""
    segmenter: ModelSettings
    """Finds the things in a picture."""
    image_text_matcher: ModelSettings
    """Measures how well a text describes a picture."""
    region_describer: ModelSettings
    """Describes what a picture shows in a box."""
    difference_describer: ModelSettings
    """Says how two marked pictures differ."""
    naturalness_judge: ModelSettings | None = None
    """Says whether a pair looks natural; only needed where `qa.check_naturalness` is on."""


class SketchSettings(Section):
    """The `sketch` profile's own; `delay_s` makes every call of its models slow, as a GPU's would be."""

    delay_s: float = Field(default=0.0, ge=0)
    """Seconds that every call of its models takes longer."""


class StageSettings(Section):
    """What the section of every worker has."""

    batch_size: int = Field(default=16, ge=1, le=10_000)
    """The most records that the stage works on at once."""
    batch_wait_s: float = Field(default=0.2, ge=0)
    """How long a batch that is not full waits for more records."""

    def bounds(self) -> dict[str, Bounds]:
        """What the stage's filters hold scores to, by the name of the score."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if isinstance(value, Bounds)}


class CommonSettings(Section):
    """What every part of the system reads."""

    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "imgdiff"
    """Stands before topics, groups and transactional ids: streams with different prefixes share a cluster."""
    profile: str = "sketch"
    """The models, prompts and thresholds to start from."""
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    blobs: BlobSettings = BlobSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    http: HttpSettings = HttpSettings()
    models: ModelsSettings
    compute: ComputeSettings = ComputeSettings()
    weights: WeightsSettings = WeightsSettings()
    sketch: SketchSettings = SketchSettings()


def _without_none(table: Tree) -> Tree:
    return {key: None if value == NONE else value for key, value in table.items()}


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
        return self._validate(CommonSettings, {k: v for k, v in self.values.items() if k not in SECTIONS})

    def section(self, name: str, kind: type[SectionT]) -> SectionT:
        """One worker's section. Raises ConfigurationError naming the setting."""
        return self._validate(kind, self.values.get(name, {}), name)

    def _validate(self, kind: type[SectionT], values: Any, *above: str) -> SectionT:
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join([*above, *map(str, problem["loc"])])
            if problem["type"] == "extra_forbidden":
                known = ", ".join(sorted(_table_at(kind, problem["loc"][:-1]).model_fields))
                raise ConfigurationError(
                    f"{self._origin(key)}: unknown setting `{key}`, expected one of {known}"
                ) from None
            found = f", found {problem['input']!r}" if _may_be_shown(key, problem) else ""
            # Without its cause, which shows every value.
            wrong = _no_table(kind, problem["loc"]) if problem["type"] == "model_type" else problem["msg"]
            raise ConfigurationError(f"setting `{key}` (from {self._origin(key)}): {wrong}{found}") from None

    def _origin(self, key: str) -> str:
        """Every layer that had a part in the value, or gave the list or table that it lies in."""
        parts = [o for k, o in self.origins.items() if _within(k, key) or _within(key, k)]
        return " and ".join(dict.fromkeys(parts)) or "the defaults"


def load_layers(
    environ: Mapping[str, str], file: Path | None = None, flags: Sequence[str] = (), profile: str | None = None
) -> Layers:
    """Merge the layers. `flags` are `key.path=value` assignments; `file` defaults to $IMGDIFF_SETTINGS.

    Raises ConfigurationError naming the file, variable or flag that is wrong.
    """
    if file is None and environ.get(FILE_VARIABLE):
        file = Path(environ[FILE_VARIABLE])
    given = [
        *([(f"file {file}", _read_file(file))] if file is not None else []),
        *_environment_layers(environ),
        *_flag_layers(flags),
        *([("--profile", {"profile": profile})] if profile else []),
    ]
    for origin, tree in given:
        _check_values(tree, origin)
    upper = [(origin, _with_secrets_read(tree, origin)) for origin, tree in given]
    for _, tree in upper:
        SECRETS.remember(_secrets_in(tree))
    chosen = next((str(tree["profile"]) for _, tree in reversed(upper) if "profile" in tree), "sketch")
    merged: Tree = {}
    origins: dict[str, str] = {}
    below = _without_other_adapters(_read_profile(chosen), [tree for _, tree in upper])
    for origin, tree in [(f"profile {chosen}", below), *upper]:
        _check_top_level(tree, origin)
        _merge(merged, tree, origin, origins)
    merged.setdefault("profile", chosen)
    return Layers(merged, origins)


_FOR_ANY_ADAPTER = frozenset({"prompt", "decoding"})
"""Options that are about what is said to a model, not about what runs it."""


def _without_other_adapters(profile: Tree, upper: Sequence[Tree]) -> Tree:
    """The profile without the weights and the options of models in whose place another layer puts another adapter.

    They are the profile's adapter's; but for the prompt and how the reply is drawn, no other one knows them.
    """
    models = dict(profile.get("models", {}))
    for role, model in models.items():
        named = [tree["models"][role]["adapter"] for tree in upper if _names_adapter(tree, role)]
        if named and named[-1] != model["adapter"]:
            kept = {key: value for key, value in model.get("options", {}).items() if key in _FOR_ANY_ADAPTER}
            models[role] = {"adapter": model["adapter"], **({"options": kept} if kept else {})}
    return {**profile, **({"models": models} if models else {})}


def _names_adapter(tree: Tree, role: str) -> bool:
    for key in ("models", role):
        tree = tree.get(key, {})
        if not isinstance(tree, dict):
            return False
    return "adapter" in tree


def is_secret(key: str) -> bool:
    """Whether the value of a setting or option with this name must not be shown."""
    return _SECRET.search(key) is not None


def without_logins(text: str, instead: str) -> str:
    """The text with `instead` in place of user and password of every URL in it."""
    return _LOGIN_IN_URL.sub(instead, text)


def settings_digest(*sections: Section) -> str:
    """12 hex digits that change whenever a value of these sections changes, but for secrets: a new key is no new way to
    work, and a digest travels with every record."""
    text = json.dumps([_without_secrets(section.model_dump(mode="json")) for section in sections], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without_secrets(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_secrets(below) for key, below in value.items() if not is_secret(key)}


def _secrets_in(value: Any, key: str = "") -> Iterator[str]:
    """Every secret in a tree of settings, and the passwords in its URLs."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _secrets_in(below, key if is_secret(key) else name)
    elif isinstance(value, list):
        for below in value:
            yield from _secrets_in(below, key)
    elif isinstance(value, str) and value != NONE:
        if is_secret(key):
            yield value
        for login in _LOGIN_IN_URL.findall(value):
            yield unquote(login.partition(":")[2] or login)


def _with_secrets_read(tree: Tree, origin: str, above: str = "") -> Tree:
    """The tree with the content of a file in place of its name wherever a secret is given by one."""
    read: Tree = {}
    for key, value in tree.items():
        name = key.removesuffix(FILE_SUFFIX)
        if isinstance(value, dict):
            read[key] = _with_secrets_read(value, origin, f"{above}{key}.")
        elif key == name or not is_secret(name):
            read[key] = value
        elif name in tree:
            raise ConfigurationError(
                f"settings `{above}{name}` and `{above}{key}` (from {origin}): expected one of them"
            )
        else:
            read[name] = _read_secret(value, f"setting `{above}{key}` (from {origin})")
    return read


def _read_secret(path: Any, what: str) -> str:
    try:
        content = Path(path).read_bytes()
    except TypeError as error:
        raise ConfigurationError(f"{what}: found no path") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{what}: {path!r}: {getattr(error, 'strerror', None) or error}") from error
    # Without the causes: they show what was read.
    if len(content) > MAX_SECRET_BYTES:
        raise ConfigurationError(f"{what}: {path!r}: found {len(content)} bytes, expected at most {MAX_SECRET_BYTES}")
    try:
        # Editors and `echo` end a file with a line end, which no secret has.
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what}: {path!r}: found no text in UTF-8") from None
    if not secret:
        raise ConfigurationError(f"{what}: {path!r}: found nothing in it")
    return secret


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
    except RecursionError:
        raise ConfigurationError(f"settings file {path}: nested too deeply") from None


def _environment_layers(environ: Mapping[str, str]) -> list[tuple[str, Tree]]:
    for name in environ:
        if name.startswith(ENVIRONMENT_PREFIX) and is_secret(name) and f"{name}{FILE_SUFFIX.upper()}" in environ:
            raise ConfigurationError(f"environment {name} and {name}{FILE_SUFFIX.upper()}: expected one of them")
    return [
        (origin, _tree_of(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), text, origin))
        for name, text in sorted(environ.items())
        for origin in [f"environment {name}"]
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS
    ]


def _flag_layers(flags: Sequence[str]) -> list[tuple[str, Tree]]:
    layers = []
    for flag in flags:
        key, equals, text = flag.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"--set {flag}: expected KEY=VALUE, such as boxes.pair_similarity.low=0.88")
        origin = f"--set {key}"
        layers.append((origin, _tree_of(key.replace("-", "_").split("."), text, origin)))
    return layers


def _tree_of(path: Sequence[str], text: str, origin: str) -> Tree:
    value: Any = text
    # An IPv6 address begins like a list.
    if text[:1] in {"{", "["} and not is_secret(path[-1]) and not _SERVER.match(text):
        try:
            value = json.loads(text)
        except ValueError as error:
            # The text may hold secrets anywhere; the error's own message has only the place.
            raise ConfigurationError(f"setting `{'.'.join(path)}` (from {origin}): not JSON: {error}") from None
        except RecursionError:
            raise ConfigurationError(f"setting `{'.'.join(path)}` (from {origin}): nested too deeply") from None
    for part in reversed(path):
        value = {part: value}
    tree: Tree = value
    return tree


def _check_values(tree: Tree, origin: str) -> None:
    """What walks a tree calls itself for every level of it, and no path or address takes a NUL."""
    level: list[Any] = [tree]
    for _ in range(MAX_DEPTH):
        if any(isinstance(value, str) and "\0" in value for value in level):
            raise ConfigurationError(f"{origin}: found a text with a NUL character in it, which no setting takes")
        level = [
            below
            for value in level
            for below in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
    if level:
        raise ConfigurationError(f"{origin}: nested more than {MAX_DEPTH} deep")


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
                origins.pop(dotted, None)
                below = into[key] = {}
            _merge(below, value, origin, origins, f"{dotted}.")
        else:
            for replaced in [k for k in origins if _within(k, dotted)]:
                del origins[replaced]
            into[key] = value
            origins[dotted] = origin


def _table_at(kind: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    """The table of settings that lies at a path in another, where a number is a place in a list."""
    for part in path:
        if isinstance(part, str):
            annotation = kind.model_fields[part].annotation
            [kind] = [
                each
                for each in (annotation, *get_args(annotation))
                if isinstance(each, type) and issubclass(each, BaseModel)
            ]
    return kind


def _no_table(kind: type[BaseModel], path: Sequence[str | int]) -> str:
    """What to say of a value where a table of settings belongs: the keys of that table, and its default."""
    said = f"expected a table of {', '.join(_table_at(kind, path).model_fields)}"
    if not path or not isinstance(path[-1], str):
        return said
    default = _table_at(kind, path[:-1]).model_fields[path[-1]].default
    example = default.model_dump(mode="json", exclude_defaults=True) if isinstance(default, BaseModel) else None
    return f"{said}, such as {json.dumps(example)}" if example else said


def _may_be_shown(key: str, problem: Mapping[str, Any]) -> bool:
    """Whether a message may quote the value. Options and misspelt settings may well be secrets, tables contain them."""
    return (
        not is_secret(key)
        and "options" not in key.split(".")
        and problem["type"] not in {"missing", "extra_forbidden"}
        and isinstance(problem["input"], str | int | float)
    )


def _within(key: str, other: str) -> bool:
    """Whether `key` is `other` or lies below it."""
    return key == other or key.startswith(f"{other}.")
