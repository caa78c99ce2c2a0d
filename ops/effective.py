"""Every setting with its effective value and where that came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.secrets import HIDDEN
from common.settings import CommonSettings, Layers, Section, is_secret, section_of, without_logins
from ops.ingest.settings import IngestSettings
from ops.workers import WORKERS, spec_of
from schemas.topics import INGEST

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting by its dotted key. `value` is plain JSON, and HIDDEN where it is a secret."""

    key: str
    value: Any
    origin: str


def section_kinds() -> dict[str, type[Section]]:
    """The settings of every worker and of ingest, by the name of their section."""
    return {INGEST: IngestSettings, **{section_of(worker): spec_of(worker).settings for worker in WORKERS}}


def effective_settings(layers: Layers) -> list[EffectiveSetting]:
    """All settings of all sections, checked. Raises ConfigurationError naming the one that is wrong."""
    common: CommonSettings = layers.common()
    sections = {name: layers.section(name, kind) for name, kind in section_kinds().items()}
    found = [("", common), *((f"{name}.", section) for name, section in sections.items())]
    return [
        EffectiveSetting(key, _shown(key, value), _origin(layers.origins, key))
        for prefix, section in found
        for key, value in _flat(section.model_dump(mode="json"), prefix)
    ]


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(key: str, value: Any) -> Any:
    """The value of this setting, or what lies in its list, as it may be shown."""
    if value and is_secret(key):
        return HIDDEN
    if isinstance(value, list):
        return [_shown(key, each) for each in value]
    if isinstance(value, dict):
        return {name: _shown(name, each) for name, each in value.items()}
    return without_logins(value, HIDDEN) if isinstance(value, str) else value


def _origin(origins: Mapping[str, str], key: str) -> str:
    """Where the value came from. A list or a whole table that one layer gave counts for all that is in it."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        origin = origins.get(".".join(parts[:length]))
        if origin is not None:
            return origin
    return DEFAULT
