"""The two formats with one item per line: plain text and JSON lines. Every line counts, so a position is a line."""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ops.ingest.items import AnyItem, BadItem, Blank, ItemReason, item_of
from ops.ingest.lines import Line

ItemOf = Callable[[int, bytes], AnyItem]


def text_items(lines: Iterable[Line | None], start: int = 0) -> Iterator[AnyItem | Blank | None]:
    """One caption per line, from line `start` on, counted from 0."""
    return _items(lines, start, lambda position, data: item_of(position, data, data.decode(), field="the line"))


def json_line_items(
    lines: Iterable[Line | None], caption_field: str, id_field: str, start: int = 0
) -> Iterator[AnyItem | Blank | None]:
    """One JSON object per line, from line `start` on, counted from 0."""
    return _items(lines, start, lambda position, data: _json_item(position, data, caption_field, id_field))


def _items(lines: Iterable[Line | None], start: int, item_on: ItemOf) -> Iterator[AnyItem | Blank | None]:
    """People part paragraphs, and end files, by blank lines. A bad item says its line as editors count them, from 1."""
    for position, line in _numbered(lines):
        if line is None:
            yield None
        elif position >= start:
            item = _readable(position, line) or _item(position, line.data, item_on)
            yield replace(item, detail=f"line {position + 1}: {item.detail}") if isinstance(item, BadItem) else item


def _item(position: int, data: bytes, item_on: ItemOf) -> AnyItem | Blank:
    return item_on(position, data) if data.decode().strip() else Blank(position)


def _numbered(lines: Iterable[Line | None]) -> Iterator[tuple[int, Line | None]]:
    position = 0
    for line in lines:
        if line is None:
            yield position, None
            continue
        if position == 0 and line.data.startswith(codecs.BOM_UTF8):
            line = Line(line.data[len(codecs.BOM_UTF8) :], line.length - len(codecs.BOM_UTF8))  # noqa: PLW2901
        yield position, line
        position += 1


def _readable(position: int, line: Line) -> BadItem | None:
    """What is wrong with a line before its format is looked at, if anything."""
    if line.cut:
        return BadItem(
            position,
            line.data,
            ItemReason.LINE_TOO_LONG,
            f"a line of {line.length} bytes, expected at most {len(line.data)}; its beginning is kept here",
        )
    try:
        line.data.decode()
    except UnicodeDecodeError as error:
        return BadItem(position, line.data, ItemReason.NOT_UTF8, f"the line is not UTF-8: {error.reason}")
    return None


def _json_item(position: int, data: bytes, caption_field: str, id_field: str) -> AnyItem:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        return BadItem(position, data, ItemReason.NOT_JSON, f"the line is not JSON: {error}"[:300])
    if not isinstance(value, dict):
        return BadItem(
            position, data, ItemReason.NO_CAPTION, f"the line is a JSON {type(value).__name__}, expected an object"
        )
    return item_of(position, data, value.get(caption_field), value.get(id_field), field=f"field `{caption_field}`")
