"""A large JSON document, value by value, in bounded memory."""

import codecs
import json
from collections.abc import Callable, Iterator
from typing import Any

CHUNK_BYTES = 1024 * 1024
MAX_VALUE_CHARS = 16 * 1024 * 1024
"""The largest single value (an element of a list) that is looked at."""

_NUMBER_JOINT = len("e+1")
"""With fewer characters behind it, a number may go on in what has not been read yet: `1`, then `e+`, then `5`."""

_SPACE = " \t\n\r"


class JsonStreamError(ValueError):
    """The document is no JSON, or not of the expected shape."""


class JsonCursor:
    """Reads one value after another. Bytes that are not UTF-8 come as lone surrogates (`surrogateescape`)."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._bytes = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._values = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is not white space, or an empty string at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def take(self, expected: str) -> None:
        found = self.peek()
        if found != expected:
            raise JsonStreamError(f"found {found!r}, expected {expected!r}" if found else f"ends before {expected!r}")
        self._at += 1

    def value(self) -> tuple[Any, str]:
        """The next value, and the text that it was read from."""
        self.peek()
        while True:
            problem = "ends in the middle of a value"
            try:
                value, end = self._values.raw_decode(self._text, self._at)
                if len(self._text) - end >= _NUMBER_JOINT or self._ended:
                    text, self._at = self._text[self._at : end], end
                    return value, text
            except ValueError as error:
                problem = getattr(error, "msg", str(error))
            except RecursionError as error:
                raise JsonStreamError("nested too deeply") from error
            if self._ended:
                raise JsonStreamError(problem)
            if len(self._text) - self._at > MAX_VALUE_CHARS:
                raise JsonStreamError(f"{problem}, or a single value of more than {MAX_VALUE_CHARS} characters")
            self._more()

    def elements(self) -> Iterator[tuple[Any, str]]:
        """The elements of the list that comes next, one by one, each with its text."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.peek() != ",":
                self.take("]")
                return
            self.take(",")

    def _more(self) -> None:
        chunk = self._read(CHUNK_BYTES)
        self._ended = not chunk
        self._text = self._text[self._at :] + self._bytes.decode(chunk, final=self._ended)
        self._at = 0


def list_in_object(read: Callable[[int], bytes], key: str) -> Iterator[tuple[Any, str]]:
    """The elements of the list under `key` of a JSON object, one by one, each with its text.

    Raises JsonStreamError saying what was found where the document has no such list, or is no single JSON object.
    """
    cursor = JsonCursor(read)
    if cursor.peek() != "{":
        raise JsonStreamError(f"begins with {cursor.peek()!r}, expected a JSON object with `{key}`")
    cursor.take("{")
    keys: list[str] = []
    while cursor.peek() != "}":
        if keys:
            cursor.take(",")
        name, _ = cursor.value()
        if not isinstance(name, str):
            raise JsonStreamError(f"found a {type(name).__name__} where a key should be")
        keys.append(name)
        cursor.take(":")
        if cursor.peek() == "[":
            for element in cursor.elements():
                if name == key:
                    yield element
        else:
            value, _ = cursor.value()
            if name == key:
                raise JsonStreamError(f"`{key}` is a {type(value).__name__}, expected a list")
    cursor.take("}")
    if cursor.peek():
        raise JsonStreamError("more than one JSON value: JSON lines perhaps (--format jsonl)")
    if key not in keys:
        raise JsonStreamError(f"found the keys {', '.join(keys[:20]) or '(none)'}, expected `{key}`")
