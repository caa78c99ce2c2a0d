"""Dead letters: the input byte for byte, with headers that say why it did not make it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import RootModel

from schemas.headers import Headers, SourceCoordinates, text_header
from schemas.scores import Scores
from schemas.trail import Candidate

PREFIX = "dlq."
KIND = "dlq.kind"
REASON = "dlq.reason"
SCORES = "dlq.scores"
CANDIDATES = "dlq.candidates"
DETAIL = "dlq.detail"
SOURCE = "dlq.source"
WORKER = "dlq.worker"
SETTINGS = "dlq.settings"
ATTEMPT = "dlq.attempt"
FAILED_AT = "dlq.failed_at"
ERROR_CLASS = "dlq.error.class"
ERROR_MESSAGE = "dlq.error.message"
ERROR_TRACEBACK = "dlq.error.traceback"

MAX_DETAIL_CHARS = 2_000
MAX_MESSAGE_CHARS = 1_000
MAX_TRACEBACK_CHARS = 4_000
MAX_CANDIDATES = 64
MAX_SCORES_BYTES = 64 * 1024
"""Of the scores, and again of the candidates: those that fit are kept. With these bounds the added headers stay far
below the difference between the two topics' `max.message.bytes`."""

T = TypeVar("T")

_ScoresModel = RootModel[Scores]
_CandidatesModel = RootModel[tuple[Candidate, ...]]


class DeadLetterKind(StrEnum):
    """`rejected` lies in `<worker>.rejected` and is data; the other two lie in `<worker>.failed` and are alerts."""

    REJECTED = "rejected"
    """Quality control said no: data for tuning thresholds, no error."""
    INVALID = "invalid"
    """The input is at fault: it can not be read, whoever tries."""
    POISON = "poison"
    """The worker could not get this input through: an error, a crash or want of memory in decoding, in its stage or in
    storing."""


class PoisonReason(StrEnum):
    """The closed set of reasons of the kind `poison`: the worker could not get this input through its stage."""

    EXCEPTION = "exception"
    """An error on this record alone: in the stage, `runtime.max_attempts` times, or once while it was decoded or its result
    stored. Its class, message and traceback are in the dead letter: a fault of the program or of a model."""
    OUT_OF_MEMORY = "out_of_memory"
    """The device or the host has not enough memory for this record alone. Give it more, or smaller pictures."""
    OUTPUT_TOO_LARGE = "output_too_large"
    """What the stage made of the record does not fit into a message. The detail names the size: bound what the model
    returns."""
    CRASH = "crash"
    """The process of its worker died or hung twice while this record was the only one in it. It was not tried a third time: run
    it where a crash does no harm before it is sent again."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The root cause of a failure: its class, its message, the tail of its traceback; each cut to its bound."""

    class_name: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why and where an input ended. `failed_at` and `source_timestamp` are seconds since the epoch."""

    kind: DeadLetterKind
    reason: str
    source: SourceCoordinates
    source_timestamp: float
    worker: str
    settings_digest: str
    attempt: int
    failed_at: float
    detail: str = ""
    scores: Scores = field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    error: ErrorInfo | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """The headers to add to those of the input."""
        texts = {
            KIND: str(self.kind),
            REASON: self.reason,
            SCORES: _json(dict(_fitting((name, score.model_dump(mode="json")) for name, score in self.scores.items()))),
            SOURCE: f"{self.source}/{self.source_timestamp:.3f}",
            WORKER: self.worker,
            SETTINGS: self.settings_digest,
            ATTEMPT: str(self.attempt),
            FAILED_AT: f"{self.failed_at:.3f}",
        }
        if self.candidates:
            texts[CANDIDATES] = _json(
                list(_fitting(c.model_dump(mode="json") for c in self.candidates[:MAX_CANDIDATES]))
            )
        if self.detail:
            texts[DETAIL] = self.detail[:MAX_DETAIL_CHARS]
        if self.error is not None:
            texts[ERROR_CLASS] = self.error.class_name[:MAX_MESSAGE_CHARS]
            texts[ERROR_MESSAGE] = self.error.message[:MAX_MESSAGE_CHARS]
            texts[ERROR_TRACEBACK] = self.error.traceback[-MAX_TRACEBACK_CHARS:]
        return [(name, text.encode(errors="replace")) for name, text in texts.items()]

    @classmethod
    def parse(cls, headers: Headers, *, with_candidates: bool = True) -> "DeadLetter":
        """What the headers of a dead letter say. Raises ValueError where they are not a dead letter's.

        The candidates take as long as all the rest: who needs none of them leaves them out.
        """

        # All at once: a header looked for one by one costs more than all that is in them.
        found = {name: _text(value) for name, value in headers if name.startswith(PREFIX)}

        def text(name: str) -> str:
            value = found.get(name)
            if value is None:
                raise ValueError(f"no `{name}` header: not a dead letter of this stream")
            return value

        source, _, timestamp = text(SOURCE).rpartition("/")
        error_class = found.get(ERROR_CLASS)
        candidates = found.get(CANDIDATES) if with_candidates else None
        try:
            return cls(
                kind=DeadLetterKind(text(KIND)),
                reason=text(REASON),
                source=SourceCoordinates.parse(source),
                source_timestamp=float(timestamp),
                worker=text(WORKER),
                settings_digest=text(SETTINGS),
                attempt=int(text(ATTEMPT)),
                failed_at=float(text(FAILED_AT)),
                detail=found.get(DETAIL) or "",
                scores=_ScoresModel.model_validate_json(text(SCORES)).root,
                candidates=_CandidatesModel.model_validate_json(candidates).root if candidates else (),
                error=None
                if error_class is None
                else ErrorInfo(
                    class_name=error_class,
                    message=found.get(ERROR_MESSAGE) or "",
                    traceback=found.get(ERROR_TRACEBACK) or "",
                ),
            )
        except ValueError as error:
            raise ValueError(f"dead-letter headers are broken: {error}") from error


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def input_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """The headers that the input itself had: those of the dead letter without what was added to it."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX)]


def attempt_of(headers: Headers) -> int:
    """Which attempt at this input this is: 1, or one more than that of the dead letter that was sent again."""
    text = text_header(headers, ATTEMPT)
    return int(text) + 1 if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else 1


def _fitting(parts: Iterable[T]) -> Iterator[T]:
    """The first parts that together are no more than MAX_SCORES_BYTES of JSON."""
    size = 0
    for part in parts:
        size += len(_json(part)) + 1
        if size > MAX_SCORES_BYTES:
            return
        yield part


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
