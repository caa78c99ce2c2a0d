"""The language of `--where`: conditions on scores, such as `pair_similarity < 0.92 and not object_match >= 0.35`."""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from schemas.scores import float32

MAX_LENGTH = 1_000
MAX_DEPTH = 32

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_TOKEN = re.compile(
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator><=|>=|!=|<|>|=)"
    r"|(?P<bracket>[()])",
    re.ASCII,
)
_WORDS = frozenset({"and", "or", "not"})


class WhereError(ValueError):
    """The text is no condition; the message says where, what was found and what was expected."""


class Condition(Protocol):
    """Something that scores fulfil or do not. Its `str` is the text that reads as itself."""

    def holds(self, scores: Mapping[str, float]) -> bool:
        """Whether scores, by name, fulfil it."""
        ...

    def names(self) -> frozenset[str]:
        """The scores that it asks for."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """A score against a number, both as float32, as filters compare them. A score that is not there never holds."""

    name: str
    operator: str
    number: float

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.number!r}"

    def holds(self, scores: Mapping[str, float]) -> bool:
        value = scores.get(self.name)
        return value is not None and _OPERATORS[self.operator](float32(value), float32(self.number))

    def names(self) -> frozenset[str]:
        return frozenset({self.name})


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where its part does not, and so also where a score is not there."""

    part: Condition

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"

    def holds(self, scores: Mapping[str, float]) -> bool:
        return not self.part.holds(scores)

    def names(self) -> frozenset[str]:
        return self.part.names()


@dataclass(frozen=True, slots=True)
class And:
    """Holds where both parts do."""

    first: Condition
    second: Condition

    def __str__(self) -> str:
        return f"{_bracketed(self.first)} and {_bracketed(self.second)}"

    def holds(self, scores: Mapping[str, float]) -> bool:
        return self.first.holds(scores) and self.second.holds(scores)

    def names(self) -> frozenset[str]:
        return self.first.names() | self.second.names()


@dataclass(frozen=True, slots=True)
class Or:
    """Holds where a part does."""

    first: Condition
    second: Condition

    def __str__(self) -> str:
        return f"{_bracketed(self.first)} or {_bracketed(self.second)}"

    def holds(self, scores: Mapping[str, float]) -> bool:
        return self.first.holds(scores) or self.second.holds(scores)

    def names(self) -> frozenset[str]:
        return self.first.names() | self.second.names()


def parse_where(text: str) -> Condition:
    """The condition that `text` says. `not` binds closest, then `and`, then `or`. Raises WhereError."""
    if len(text) > MAX_LENGTH:
        raise WhereError(f"{len(text)} characters, expected at most {MAX_LENGTH}")
    parser = _Parser(list(_tokens(text)))
    condition = parser.either()
    parser.expect_end()
    return condition


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the text; `kind` is `end` behind the last one."""

    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise WhereError(f"at {at + 1}: found {text[at]!r}, expected a comparison such as pair_similarity < 0.92")
        kind = str(match.lastgroup)
        yield _Token(match.group() if match.group() in _WORDS else kind, match.group(), at + 1)
        at = match.end()
    yield _Token("end", "", len(text) + 1)


class _Parser:
    """Recursive descent over the tokens; the last one is the end."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def either(self) -> Condition:
        found = self._both()
        while self._take("or"):
            found = Or(found, self._both())
        return found

    def expect_end(self) -> None:
        if self._now.kind != "end":
            raise self._wrong("`and`, `or` or the end")

    def _both(self) -> Condition:
        found = self._one()
        while self._take("and"):
            found = And(found, self._one())
        return found

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise WhereError(f"at {self._now.at}: nested more than {MAX_DEPTH} deep")
        try:
            if self._take("not"):
                return Not(self._one())
            if self._now.text == "(":
                self._next += 1
                inner = self.either()
                if self._now.text != ")":
                    raise self._wrong("`)`")
                self._next += 1
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Comparison:
        name = self._expect("word", "the name of a score")
        sign = self._expect("operator", f"one of {' '.join(_OPERATORS)}")
        at = self._now.at
        number = float(self._expect("number", "a number"))
        if not math.isfinite(number):
            raise WhereError(f"at {at}: the number is too large")
        return Comparison(name, sign, number)

    def _expect(self, kind: str, what: str) -> str:
        if self._now.kind != kind:
            raise self._wrong(what)
        self._next += 1
        return self._tokens[self._next - 1].text

    def _take(self, kind: str) -> bool:
        taken = self._now.kind == kind
        self._next += taken
        return taken

    @property
    def _now(self) -> _Token:
        return self._tokens[self._next]

    def _wrong(self, expected: str) -> WhereError:
        found = "the end" if self._now.kind == "end" else repr(self._now.text)
        return WhereError(f"at {self._now.at}: found {found}, expected {expected}")


def _bracketed(part: Condition) -> str:
    return str(part) if isinstance(part, Comparison) else f"({part})"
