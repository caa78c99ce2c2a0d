"""Readers of people's files: each gives its items in order, from any position, in bounded memory."""

import codecs
import os
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import IO, Any, Protocol

from ops.ingest.items import MAX_ORIGINAL_BYTES, AnyItem, BadItem, Blank, ItemReason, item_of
from ops.ingest.json_stream import JsonStreamError, list_in_object
from ops.ingest.line_formats import json_line_items, text_items
from ops.ingest.lines import CHUNK_BYTES, split_lines

CAPTION_FIELD = "caption"
ID_FIELD = "id"
ANNOTATIONS = "annotations"
PARQUET_ROWS = 1_000
PAUSE_S = 0.25
"""How long standard input may be silent before the reader says so."""


class Format(StrEnum):
    """What a file can be."""

    TEXT = "text"
    JSON_LINES = "jsonl"
    COCO = "coco"
    PARQUET = "parquet"


SUFFIXES = {
    ".txt": Format.TEXT,
    ".text": Format.TEXT,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".json": Format.COCO,
    ".parquet": Format.PARQUET,
}

FOREIGN_MAGIC = {
    codecs.BOM_UTF16_LE: "UTF-16 text",
    codecs.BOM_UTF16_BE: "UTF-16 text",
    b"\x1f\x8b": "gzip data",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
}
"""First bytes of files that would only give one bad item per line."""


class WrongFileError(Exception):
    """A file can not be ingested at all; the message names it, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read: the format (None: by suffix), and the fields of caption and id (None: `caption`; `id` if there)."""

    format: Format | None = None
    caption_field: str | None = None
    id_field: str | None = None


class Reader(Protocol):
    """One source's items."""

    gives_ids: bool
    """Whether items may have ids of their own, so that all of them have to be seen to tell repeated ones."""

    def items(self, start: int) -> Iterator[AnyItem | Blank | None]:
        """The items from position `start` on, and what takes a position without being one; None where nothing has come for
        a while, from a source that is still open.

        Raises WrongFileError where the file turns out to be broken.
        """
        ...

    def share_read(self) -> float | None:
        """How much has been read, in [0, 1], where that is known."""
        ...


def format_of(path: Path, wanted: Format | None) -> Format:
    """The format of a file: as wanted, else by its suffix. Raises WrongFileError."""
    found = wanted or SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise WrongFileError(
            f"{path}: found the suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}, or --format"
        )
    return found


def open_file(path: Path, reading: Reading) -> Reader:
    """The reader of a file that has been checked as far as that is possible beforehand. Raises WrongFileError."""
    kind = format_of(path, reading.format)
    try:
        if not path.is_file():
            raise WrongFileError(f"{path}: {_what_else(path)}, expected a file to read")
        if kind is Format.PARQUET:
            return ParquetReader(path, reading)
        _refuse_foreign(path, kind)
        if kind is Format.COCO:
            return CocoReader(path, reading)
        return LinesReader(path, kind, reading)
    except OSError as error:
        raise _unreadable(path, error) from error


class LinesReader:
    """Text or JSON lines from a file."""

    def __init__(self, path: Path, kind: Format, reading: Reading) -> None:
        self._path = path
        self._kind = kind
        self._reading = reading
        self._size = path.stat().st_size
        self._read = 0
        self.gives_ids = kind is Format.JSON_LINES

    def items(self, start: int) -> Iterator[AnyItem | Blank | None]:
        return line_items(self._kind, self._chunks(), self._reading, start)

    def share_read(self) -> float | None:
        return self._read / self._size if self._size else 1.0

    def _chunks(self) -> Iterator[bytes | None]:
        self._read = 0
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    self._read += len(chunk)
                    yield chunk
        except OSError as error:
            raise _unreadable(self._path, error) from error


class CocoReader:
    """The `annotations` of a COCO captions file."""

    gives_ids = True

    def __init__(self, path: Path, reading: Reading) -> None:
        """Reads the file once through: what is broken at its end must be known before anything is written."""
        self._path = path
        self._caption_field = reading.caption_field or CAPTION_FIELD
        self._id_field = reading.id_field or ID_FIELD
        self._size = path.stat().st_size
        self._read = 0
        found = captions = 0
        for item in self.items(0):
            found += 1
            captions += not (isinstance(item, BadItem) and item.reason is ItemReason.NO_CAPTION)
        if found and not captions:
            raise WrongFileError(f"{path}: none of its {found} annotations has a `{self._caption_field}`")
        self._read = 0

    def items(self, start: int) -> Iterator[AnyItem | None]:
        position = 0
        self._read = 0
        try:
            with self._path.open("rb") as file:
                for value, text in list_in_object(self._counted(file), ANNOTATIONS):
                    if position >= start:
                        yield self._item(position, value, text)
                    position += 1
        except JsonStreamError as error:
            where = f" (after {position} annotations)" if position else ""
            raise WrongFileError(f"{self._path}: not COCO JSON: {error}{where}") from error
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def share_read(self) -> float | None:
        return self._read / self._size if self._size else 1.0

    def _counted(self, file: IO[bytes]) -> Callable[[int], bytes]:
        def read(size: int) -> bytes:
            chunk = file.read(size)
            self._read += len(chunk)
            return chunk

        return read

    def _item(self, position: int, value: Any, text: str) -> AnyItem:
        original = text[:MAX_ORIGINAL_BYTES].encode("utf-8", "surrogateescape")[:MAX_ORIGINAL_BYTES]
        if not isinstance(value, dict):
            return BadItem(
                position,
                original,
                ItemReason.NO_CAPTION,
                f"the annotation is a JSON {type(value).__name__}, expected an object",
            )
        field = f"field `{self._caption_field}`"
        return item_of(position, original, value.get(self._caption_field), value.get(self._id_field), field=field)


class ParquetReader:
    """Two columns of a Parquet file."""

    def __init__(self, path: Path, reading: Reading) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self._rows = 0
        try:
            self._file = pq.ParquetFile(path)
            self._names = self._file.schema_arrow.names
        except (ValueError, pa.ArrowException) as error:
            raise WrongFileError(f"{path}: not a Parquet file: {error}") from error
        self._caption = self._column(reading.caption_field or CAPTION_FIELD, _is_text, "text")
        if reading.id_field is None and ID_FIELD not in self._names:
            self._id = None
        else:
            self._id = self._column(reading.id_field or ID_FIELD, _is_text_or_whole_number, "text or whole numbers")
        self.gives_ids = self._id is not None

    def items(self, start: int) -> Iterator[AnyItem | None]:
        import pyarrow as pa

        columns = [self._caption, *([self._id] if self._id else [])]
        position = 0
        try:
            for group in range(self._file.num_row_groups):
                rows = self._file.metadata.row_group(group).num_rows
                if position + rows <= start:
                    position += rows
                    continue
                for batch in self._file.iter_batches(PARQUET_ROWS, row_groups=[group], columns=columns):
                    captions = _values(batch.column(self._caption))
                    ids = _values(batch.column(self._id)) if self._id else [None] * len(captions)
                    for caption, given_id in zip(captions, ids, strict=True):
                        if position >= start:
                            yield self._item(position, caption, given_id)
                        position += 1
                        self._rows = position
        except (OSError, ValueError, pa.ArrowException) as error:
            raise WrongFileError(f"{self._path}: broken after row {position}: {error}") from error

    def share_read(self) -> float | None:
        total = self._file.metadata.num_rows
        return self._rows / total if total else 1.0

    def _column(self, name: str, fits: Callable[[Any], bool], expected: str) -> str:
        if name not in self._names:
            raise WrongFileError(f"{self._path}: found the columns {', '.join(self._names)}, expected `{name}`")
        kind = self._file.schema_arrow.field(name).type
        if not fits(kind):
            raise WrongFileError(f"{self._path}: column `{name}` is {kind}, expected {expected}")
        return name

    def _item(self, position: int, caption: object, given_id: object) -> AnyItem:
        original = caption[:MAX_ORIGINAL_BYTES] if isinstance(caption, bytes) else b""
        try:
            texts = [value.decode() if isinstance(value, bytes) else value for value in (caption, given_id)]
        except UnicodeDecodeError as error:
            return BadItem(position, original, ItemReason.NOT_UTF8, f"the row is not UTF-8: {error.reason}")
        return item_of(position, original, *texts, field=f"column `{self._caption}`")


class StandardInputReader:
    """Text or JSON lines from a pipe or terminal, which may be silent for a while."""

    gives_ids = True

    def __init__(self, descriptor: int, reading: Reading) -> None:
        """Raises WrongFileError for a format that can not be read from a pipe."""
        if reading.format in {Format.COCO, Format.PARQUET}:
            raise WrongFileError(
                f"standard input: found --format {reading.format}, expected text or jsonl (give a file instead)"
            )
        self._descriptor = descriptor
        self._reading = reading

    def items(self, start: int) -> Iterator[AnyItem | Blank | None]:
        chunks = self._chunks()
        begin = b""
        for chunk in chunks:
            if chunk is None:
                yield None
                continue
            begin += chunk
            if _said(begin):
                break
        kind = self._reading.format or _looks_like(begin)
        yield from line_items(kind, chain([begin], chunks), self._reading, start)

    def share_read(self) -> float | None:
        return None

    def _chunks(self) -> Iterator[bytes | None]:
        try:
            while True:
                ready, _, _ = select.select([self._descriptor], [], [], PAUSE_S)
                if not ready:
                    yield None
                    continue
                chunk = os.read(self._descriptor, CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk
        except OSError as error:
            raise WrongFileError(f"standard input: {error.strerror}") from error


def line_items(
    kind: Format, chunks: Iterator[bytes | None], reading: Reading, start: int
) -> Iterator[AnyItem | Blank | None]:
    """The items of a format with one item per line."""
    lines = split_lines(chunks)
    if kind is Format.TEXT:
        return text_items(lines, start)
    return json_line_items(lines, reading.caption_field or CAPTION_FIELD, reading.id_field or ID_FIELD, start)


def _looks_like(begin: bytes) -> Format:
    """No caption begins with a brace, every line of JSON does."""
    return Format.JSON_LINES if _said(begin).startswith(b"{") else Format.TEXT


def _said(begin: bytes) -> bytes:
    """Without what stands before the first character of a line."""
    return begin.removeprefix(codecs.BOM_UTF8).lstrip()


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_text_or_whole_number(kind: Any) -> bool:
    from pyarrow import types

    return _is_text(kind) or bool(types.is_integer(kind))


def _values(column: Any) -> list[Any]:
    """A column's values; texts as bytes, since whether they are UTF-8 is only known one by one."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column.type):
        column = column.cast(pa.large_binary())
    values: list[Any] = column.to_pylist()
    return values


def _refuse_foreign(path: Path, kind: Format) -> None:
    with path.open("rb") as file:
        begin = file.read(8)
    for magic, name in FOREIGN_MAGIC.items():
        if begin.startswith(magic):
            raise WrongFileError(f"{path}: found {name}, expected {kind} in UTF-8")


def _what_else(path: Path) -> str:
    if path.is_dir():
        return "a folder (`--watch` reads the files in one)"
    return "a pipe or device (`-` reads standard input)" if path.exists() else "no such file"


def _unreadable(path: Path, error: OSError) -> WrongFileError:
    return WrongFileError(f"{path}: {error.strerror or error}, expected a file to read")
