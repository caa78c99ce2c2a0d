"""Records to bytes and back: msgpack, with the schema named in a header. Bytes from a topic are untrusted."""

from reprlib import Repr
from typing import Any, TypeVar

import msgpack
from pydantic import ValidationError

from schemas.images import NewImage
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.record import Fields, Record

MAX_RECORD_BYTES = 4 * 1024 * 1024
"""`max.message.bytes` of the input topics."""

MAX_STRING_BYTES = 256 * 1024
MAX_ARRAY_LENGTH = 16_384
MAX_MAP_LENGTH = 4_096

MAX_FOUND_CHARS = 80
"""How much is said of a value that is not what it should be."""

RecordT = TypeVar("RecordT", bound=Record)

# Python's own `repr` follows lists in lists until its stack is used up.
_brief = Repr()
_brief.maxstring = _brief.maxother = MAX_FOUND_CHARS


def encode(record: Record) -> bytes:
    """The record's bytes. Equal records give equal bytes.

    Raises ValueError when the record still refers to a picture that was not stored.
    """
    unstored = [name for name, image in record.images().items() if isinstance(image, NewImage)]
    if unstored:
        raise ValueError(f"{record.schema_name()} {record.id}: picture not stored: {', '.join(unstored)}")
    packed: bytes = msgpack.packb(record.model_dump(mode="python"), use_bin_type=True)
    return packed


def decode(kind: type[RecordT], value: bytes | None, schema: str | None) -> RecordT:
    """The record of `kind` in `value`, whose `schema` header is given; an older version is brought up to date.

    Raises InvalidRecord with what was found and what was expected.
    """
    if value is None:
        raise InvalidRecord(InvalidReason.UNDECODABLE, f"no value, expected a {kind.schema_name()} record")
    version = _version_of(kind, schema)
    fields = _unpack(value)
    if not isinstance(fields, dict) or not set(map(type, fields)) <= {str}:
        raise InvalidRecord(
            InvalidReason.UNDECODABLE, f"the value is a msgpack {type(fields).__name__}, expected a map with text keys"
        )
    for old in range(version, kind.version):
        fields = _upcast(kind, old, fields)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InvalidRecord(InvalidReason.SCHEMA_BROKEN, _first_problem(kind, error)) from error
    except RecursionError as error:
        raise InvalidRecord(InvalidReason.SCHEMA_BROKEN, f"{kind.schema_name()}: nested too deeply") from error


def fields_of(value: bytes) -> Fields:
    """The fields of a record as they are, for who needs one or two of very many. Raises InvalidRecord."""
    fields = _unpack(value)
    if not isinstance(fields, dict):
        raise InvalidRecord(
            InvalidReason.UNDECODABLE, f"the value is a msgpack {type(fields).__name__}, expected a map"
        )
    return fields


def _version_of(kind: type[Record], schema: str | None) -> int:
    if schema == kind.schema_name():
        return kind.version
    expected = f"expected {kind.schema_name()}"
    if schema is None:
        raise InvalidRecord(InvalidReason.SCHEMA_MISSING, f"no `schema` header, {expected}")
    topic, _, version = schema.partition("/")
    if topic != kind.topic or not (version.isascii() and version.isdigit() and len(version) <= 6) or int(version) < 1:
        raise InvalidRecord(InvalidReason.SCHEMA_UNKNOWN, f"schema {schema[:80]!r}, {expected}")
    if int(version) > kind.version:
        raise InvalidRecord(
            InvalidReason.SCHEMA_NEWER, f"schema {schema!r} is newer than this worker reads, {expected} or older"
        )
    return int(version)


def _unpack(value: bytes) -> Any:
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidRecord(InvalidReason.TOO_LARGE, f"{len(value)} bytes, expected at most {MAX_RECORD_BYTES}")
    try:
        return msgpack.unpackb(
            value,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_STRING_BYTES,
            max_bin_len=MAX_STRING_BYTES,
            max_array_len=MAX_ARRAY_LENGTH,
            max_map_len=MAX_MAP_LENGTH,
            max_ext_len=0,
        )
    except MemoryError:
        raise
    except Exception as error:  # msgpack raises a dozen unrelated types on broken input
        raise InvalidRecord(
            InvalidReason.UNDECODABLE, f"{len(value)} bytes are not msgpack: {type(error).__name__} {error}"[:300]
        ) from error


def _upcast(kind: type[Record], version: int, fields: Fields) -> Fields:
    try:
        return kind.upcasts[version](fields)
    except KeyError as error:
        raise InvalidRecord(
            InvalidReason.SCHEMA_BROKEN, f"{kind.topic}/{version} lacks {error}, can not become {kind.schema_name()}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # it takes fields for what they should be, and nobody has looked at them yet
        raise InvalidRecord(
            InvalidReason.SCHEMA_BROKEN,
            f"{kind.topic}/{version} can not become {kind.schema_name()}: {type(error).__name__} {error}"[:300],
        ) from error


def _first_problem(kind: type[Record], error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])[:80] or "record"
    found = _brief.repr(problem["input"])[:MAX_FOUND_CHARS]
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{kind.schema_name()}: {where}: {problem['msg']}, found {found}{others}"
