"""As much of PromQL as the dashboards use: what a query selects and what it groups by. Anything else is refused."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric

FUNCTIONS = {"histogram_quantile", "increase", "rate", "time"}
AGGREGATIONS = {"count", "max", "sum"}

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
    | (?P<range>\[(?:\$__rate_interval|\$__range)\])
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<sign>=~|[=(){},/>*-])
    )""",
    re.VERBOSE,
)


class NotPromqlError(Exception):
    """The query is broken, or uses what this reader does not know."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """`label="value"` or `label=~"pattern"`."""

    operator: str
    value: str

    def accepts(self, found: str, variables: Mapping[str, str]) -> bool:
        value = re.sub(r"\$(\w+)", lambda match: variables[match[1]], self.value)
        return re.fullmatch(value, found) is not None if self.operator == "=~" else value == found


@dataclass(frozen=True, slots=True)
class Selector:
    """What a query asks of one metric; `ranged` when it asks for more than the last value."""

    metric: str
    matchers: Mapping[str, Matcher]
    ranged: bool

    def finds(self, page: Iterable[Metric], variables: Mapping[str, str]) -> bool:
        """Whether a page has a sample that this selects."""
        return any(
            sample.name == self.metric
            and all(label in sample.labels for label in self.matchers)
            and all(matcher.accepts(sample.labels[label], variables) for label, matcher in self.matchers.items())
            for family in page
            for sample in family.samples
        )


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query: what it selects, and the labels that its aggregations keep."""

    selectors: Sequence[Selector]
    groupings: Sequence[Sequence[str]]


def parse(query: str) -> Parsed:
    """Raises NotPromqlError."""
    return _Reader(query).read()


class _Reader:
    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(query.rstrip()):
            match = _TOKEN.match(query, position)
            if match is None:
                raise NotPromqlError(f"{query}: can not read {query[position:]!r}")
            assert match.lastgroup is not None
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        self._selectors: list[Selector] = []
        self._groupings: list[list[str]] = []

    def read(self) -> Parsed:
        self._expression()
        if self._tokens:
            raise NotPromqlError(f"{self._query}: {self._tokens[0][1]!r} is left over")
        return Parsed(self._selectors, self._groupings)

    def _expression(self) -> None:
        self._operand()
        while self._next() in {"/", ">", "*", "-"}:
            self._take()
            self._operand()

    def _operand(self) -> None:
        kind, text = self._take()
        if kind == "number":
            return
        if text == "(":
            self._expression()
            self._expect(")")
        elif kind == "name" and text in AGGREGATIONS:
            if self._next() == "by":
                self._take()
                self._groupings.append(self._labels())
            else:
                self._groupings.append([])
            self._arguments()
        elif kind == "name" and text in FUNCTIONS:
            self._arguments()
        elif kind == "name":
            self._selectors.append(self._selector(text))
        else:
            raise NotPromqlError(f"{self._query}: {text!r} is no operand")

    def _arguments(self) -> None:
        self._expect("(")
        while self._next() != ")":
            self._expression()
            if self._next() == ",":
                self._take()
        self._expect(")")

    def _labels(self) -> list[str]:
        self._expect("(")
        labels = [self._expect_kind("name")]
        while self._next() == ",":
            self._take()
            labels.append(self._expect_kind("name"))
        self._expect(")")
        return labels

    def _selector(self, metric: str) -> Selector:
        matchers = {}
        if self._next() == "{":
            self._take()
            while self._next() != "}":
                label = self._expect_kind("name")
                operator = self._expect("=", "=~")
                matchers[label] = Matcher(operator, json.loads(self._expect_kind("string")))
                if self._next() == ",":
                    self._take()
            self._expect("}")
        ranged = bool(self._tokens) and self._tokens[0][0] == "range"
        if ranged:
            self._take()
        return Selector(metric, matchers, ranged)

    def _next(self) -> str | None:
        return self._tokens[0][1] if self._tokens else None

    def _take(self) -> tuple[str, str]:
        if not self._tokens:
            raise NotPromqlError(f"{self._query}: ends too soon")
        return self._tokens.pop(0)

    def _expect(self, *texts: str) -> str:
        text = self._take()[1]
        if text not in texts:
            raise NotPromqlError(f"{self._query}: found {text!r}, expected {' or '.join(texts)}")
        return text

    def _expect_kind(self, kind: str) -> str:
        found, text = self._take()
        if found != kind:
            raise NotPromqlError(f"{self._query}: found {text!r}, expected a {kind}")
        return text
