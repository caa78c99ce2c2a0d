"""One caption as a file gives it, or why it is none."""

from dataclasses import dataclass
from enum import StrEnum

from schemas.ids import MAX_GIVEN_ID_LENGTH

MAX_CAPTION_LENGTH = 8_192
"""Characters; the bound of every text in a record."""

MAX_ORIGINAL_BYTES = 1024 * 1024
"""How much of an item is kept for its dead letter, and the longest line that is looked at."""


class ItemReason(StrEnum):
    """The closed set of reasons why an item is no caption."""

    NOT_UTF8 = "not_utf8"
    """The text is not UTF-8. Convert the file."""
    NOT_JSON = "not_json"
    """The line is not JSON. If the file is plain text, say so with `ingest.format`."""
    NO_CAPTION = "no_caption"
    """The item has no text in the field of the caption. Name the field with `ingest.caption_field`."""
    EMPTY_CAPTION = "empty_caption"
    """The caption is empty, or nothing but white space."""
    CAPTION_TOO_LONG = "caption_too_long"
    """The caption has more characters than a record holds. Shorten it."""
    BAD_ID = "bad_id"
    """The id is neither text nor a whole number, is empty, or begins with `#`. Name the field with
    `ingest.id_field`."""
    ID_TOO_LONG = "id_too_long"
    """The id has more characters than an id may have. Name another field, or shorten it."""
    DUPLICATE_ID = "duplicate_id"
    """An earlier item of the same source has this id. Its records would take the place of the earlier one's: give each
    caption an id of its own."""
    LINE_TOO_LONG = "line_too_long"
    """The line has more bytes than are looked at. If the file is one JSON document, say so with `ingest.format`."""


@dataclass(frozen=True, slots=True)
class Item:
    """A caption. `position` is its place in the source, from 0, blank lines counted; `original` what the source says, in
    bytes."""

    position: int
    original: bytes
    caption: str
    given_id: str | None = None


@dataclass(frozen=True, slots=True)
class BadItem:
    """An item that is no caption: what was found, and what was expected. `given_id` is its id where that is one."""

    position: int
    original: bytes
    reason: ItemReason
    detail: str
    given_id: str | None = None


AnyItem = Item | BadItem


@dataclass(frozen=True, slots=True)
class Blank:
    """A line with nothing on it: no item, though it has a position."""

    position: int


class _BadValueError(Exception):
    def __init__(self, reason: ItemReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def item_of(position: int, original: bytes, caption: object, given_id: object = None, *, field: str) -> AnyItem:
    """The item with this caption and id, if they are fit to be such. `field` names the caption's place, for the detail."""
    try:
        return Item(position, original, _caption_of(caption, field), _id_of(given_id))
    except _BadValueError as error:
        return BadItem(position, original, error.reason, error.detail, _usable_id(given_id))


def _caption_of(value: object, field: str) -> str:
    if value is None:
        raise _BadValueError(ItemReason.NO_CAPTION, f"no {field}")
    if not isinstance(value, str):
        raise _BadValueError(ItemReason.NO_CAPTION, f"{field}: found {type(value).__name__}, expected text")
    caption = value.strip()
    if not caption:
        raise _BadValueError(ItemReason.EMPTY_CAPTION, f"{field} is empty")
    if len(caption) > MAX_CAPTION_LENGTH:
        raise _BadValueError(
            ItemReason.CAPTION_TOO_LONG, f"{field} has {len(caption)} characters, expected at most {MAX_CAPTION_LENGTH}"
        )
    _check_encodable(caption, field)
    return caption


def _id_of(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _BadValueError(
            ItemReason.BAD_ID, f"the id: found {type(value).__name__}, expected text or a whole number"
        )
    given = str(value)
    if not given:
        raise _BadValueError(ItemReason.BAD_ID, "the id is empty")
    if given.startswith("#"):
        raise _BadValueError(ItemReason.BAD_ID, f"the id {given[:20]!r} begins with `#`, which marks a position")
    if len(given) > MAX_GIVEN_ID_LENGTH:
        raise _BadValueError(
            ItemReason.ID_TOO_LONG, f"the id has {len(given)} characters, expected at most {MAX_GIVEN_ID_LENGTH}"
        )
    _check_encodable(given, "the id")
    return given


def _usable_id(value: object) -> str | None:
    try:
        return _id_of(value)
    except _BadValueError:
        return None


def _check_encodable(text: str, field: str) -> None:
    """JSON can escape halves of surrogate pairs, which no UTF-8 text has."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _BadValueError(ItemReason.NOT_UTF8, f"{field} is not valid Unicode: {error}") from error
