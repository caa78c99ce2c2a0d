"""`docs/settings.md`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from common.settings import ENVIRONMENT_PREFIX, CommonSettings, Section
from ops.dead_letters.showing import window
from ops.docs.docstrings import UndocumentedError
from ops.docs.markdown import code, page, table
from ops.effective import section_kinds
from schemas.scores import Bounds

MAX_DEFAULT_CHARS = 60

INTRODUCTION = """\
A later layer goes over an earlier one: the default, the profile, a TOML file (`--settings FILE` or
`IMGDIFF_SETTINGS`), the environment, `--set KEY=VALUE`. `imgdiff settings` prints what holds and where each value came
from. An unknown setting is an error."""

WRITING = """\
These say the same:

```
[boxes.pair_similarity]                              # in a file
low = 0.88

IMGDIFF_BOXES__PAIR_SIMILARITY__LOW=0.88             # in the environment
IMGDIFF_BOXES__PAIR_SIMILARITY='{"low": 0.88}'
imgdiff worker boxes --set boxes.pair_similarity.low=0.88
```

Lists and tables are JSON in the environment and in `--set`. **Bounds** are a table of `low`, `high`, `low_inclusive` and
`high_inclusive`; the page shows them as an interval: a square bracket takes the bound in, a round one does not. A score
has to lie inside. What may be **none** is set to none from JSON: `--set 'boxes={"max_boxes": null}'`."""

SECRETS = """\
**Secrets** may lie in files, as Docker and Kubernetes mount them: a name with `_file` at its end, in any layer and also
inside options, names the file that the value is read from, without the line end at its end:

```
IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD_FILE=/run/secrets/kafka-password
IMGDIFF_BLOBS__OPTIONS__SECRET_FILE=/run/secrets/store-secret
```

Secrets show in no output, log or dead letter ([security.md](security.md))."""

OTHERS = """\
Three variables are no settings: `IMGDIFF_SETTINGS` names the file, `IMGDIFF_INSTANCE` the worker process (else its host
and the lowest free number), and `IMGDIFF_FAULT` makes a worker fail at a step, for tests."""


def settings_page() -> str:
    """Every setting with its type, default, environment variable and meaning."""
    workers = [block for name, kind in section_kinds().items() for block in _section(name, kind)]
    return page("Settings", INTRODUCTION, WRITING, SECRETS, OTHERS, *_section("", CommonSettings), *workers)


def _section(name: str, kind: type[Section]) -> Iterator[str]:
    """A section and those inside it, each under a heading of its own."""
    inner = {key: below for key, field in kind.model_fields.items() if (below := _section_kind(field.annotation))}
    path = f"{name}." if name else ""
    schema = kind.model_json_schema()
    yield f"## {name or 'Common'}"
    yield kind.__doc__ or ""
    if own := [key for key in kind.model_fields if key not in inner]:
        yield table(
            ["Setting", "Type", "Default", "Variable", "Meaning"], [_row(path, kind, key, schema) for key in own]
        )
    for below in dict.fromkeys(inner.values()):
        keys = [key for key, each in inner.items() if each is below]
        if len(keys) == 1:
            yield from _section(f"{path}{keys[0]}", below)
        else:  # sections that are alike: what each is for, then what all of them have
            yield table(["Section", "Meaning"], [[code(f"{path}{key}"), _meaning(path, kind, key)] for key in keys])
            yield from _section(f"{path}NAME", below)


def _row(path: str, kind: type[Section], key: str, schema: Mapping[str, Any]) -> list[str]:
    field = kind.model_fields[key]
    return [
        code(f"{path}{key}"),
        _type(schema["properties"][key], schema.get("$defs", {})),
        "the profile's" if field.is_required() else code(_default(field.get_default())),
        code(ENVIRONMENT_PREFIX + f"{path}{key}".upper().replace(".", "__")),
        _meaning(path, kind, key),
    ]


def _section_kind(annotation: object) -> type[Section] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _meaning(path: str, kind: type[Section], key: str) -> str:
    description = kind.model_fields[key].description
    if description is None:
        raise UndocumentedError(f"setting {path}{key} has no docstring")
    return description


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    reference = schema.get("$ref", "").rpartition("/")[2]
    match definitions[reference] if reference else schema:
        case {"anyOf": options}:
            words = " or ".join(_type(option, definitions) for option in options)
        case {"enum": values}:
            words = " or ".join(map(code, values))
        case {"type": "array", "items": items}:
            words = f"list of {_type(items, definitions)}"
        case {"type": "string", "pattern": pattern}:
            words = f"text like {code(pattern)}"
        case {"type": "string", "format": form}:
            words = _FORMATS[form]
        case {"title": Bounds.__name__}:
            words = "bounds"
        case {"type": name, **limits}:
            words = " ".join([_TYPES[name], *(f"{_LIMITS[key]} {limits[key]:g}" for key in _LIMITS if key in limits)])
        case unknown:
            raise UndocumentedError(f"no words for the type {json.dumps(unknown)}")
    return words


_FORMATS = {"path": "path", "password": "secret"}
_TYPES = {
    "boolean": "`true` or `false`",
    "integer": "whole number",
    "null": "none",
    "number": "number",
    "object": "table",
    "string": "text",
}
_LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def _default(value: object) -> str:
    """A default as one would write it; of a long list only the first item."""
    if value is None:
        return "none"
    if isinstance(value, Bounds):
        return window(value)
    text = json.dumps(value, default=str, ensure_ascii=False)
    if isinstance(value, tuple) and len(text) > MAX_DEFAULT_CHARS:
        return f"[{json.dumps(value[0], ensure_ascii=False)}, ... {len(value)} in all]"
    return text
