"""Everything that a dead letter says, as text for people. What comes from a topic is escaped."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.blobs import Blobs
from common.terminal import escape
from ops.dead_letters.reading import FoundLetter
from schemas.dead_letters import DeadLetter, input_headers
from schemas.images import ImageRef
from schemas.invalid import InvalidRecord
from schemas.record import Record
from schemas.scores import Bounds, Score
from schemas.trail import Candidate, TrailStep

MAX_BYTES_CHARS = 300
"""How much of a header, a key, or an input that is no record is shown."""

INDENT = "  "


def utc(seconds: float) -> str:
    """A time as people read it. Times out of any calendar are shown as the number that they are."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"{seconds!r} s"


def window(bounds: Bounds) -> str:
    """Bounds as an interval: a square bracket takes the bound in, a round one does not."""
    low = "(-inf" if bounds.low is None else f"{'[' if bounds.low_inclusive else '('}{bounds.low:g}"
    high = "inf)" if bounds.high is None else f"{bounds.high:g}{']' if bounds.high_inclusive else ')'}"
    return f"{low}, {high}"


def verdict(score: Score) -> str:
    """A score against its bounds, e.g. `0.9931 too high for (0.9, 0.98)`."""
    said = "too low for" if score.too_low else "too high for" if score.too_high else "in"
    return f"{score.value:.4g} {said} {window(score.bounds)}"


def show(found: FoundLetter) -> Iterator[str]:
    """The lines of one dead letter."""
    yield f"dead letter {found.at}"
    if found.letter is None:
        yield f"{INDENT}unreadable: {escape(found.problem or '')}"
    else:
        yield from _letter(found.letter)
    yield ""
    yield f"headers of the input ({len(found.raw.value or b'')} bytes of value, key {_bytes(found.raw.key)})"
    for name, value in input_headers(found.raw.headers):
        yield f"{INDENT}{escape(name)}: {_bytes(value)}"
    yield ""
    try:
        yield from _record(found.record())
    except InvalidRecord as error:
        yield f"the input is no record: {escape(error.detail)}"
        if found.raw.value:
            yield f"{INDENT}{_bytes(found.raw.value)}"


def save_images(found: FoundLetter, blobs: Blobs) -> Iterator[tuple[str, bytes]]:
    """The input's pictures, by the name of a file. Raises InvalidRecord for one that is not in the store as it should be."""
    for name, reference in found.record().images().items():
        suffix = reference.media_type.rpartition("/")[2]
        suffix = suffix if suffix in {"png", "jpeg", "webp"} else "bin"
        yield f"{name}.{suffix}", blobs.picture(reference, decode=False).data


def _letter(letter: DeadLetter) -> Iterator[str]:
    fields = {
        "kind": str(letter.kind),
        "reason": letter.reason,
        "input": str(letter.source),
        "written": utc(letter.source_timestamp),
        "ended": utc(letter.failed_at),
        "worker": f"{letter.worker}, settings {letter.settings_digest}",
        "attempt": str(letter.attempt),
        "detail": letter.detail,
    }
    for name, value in fields.items():
        if value:
            yield f"{INDENT}{name:<8} {escape(value)}"
    yield from _scores(letter.scores, INDENT)
    yield from _candidates(letter.candidates, INDENT)
    if letter.error is not None:
        yield f"{INDENT}error    {escape(f'{letter.error.class_name}: {letter.error.message}')}"
        for line in letter.error.traceback.splitlines():
            yield f"{INDENT * 2}{escape(line)}"


def _record(record: Record) -> Iterator[str]:
    yield record.schema_name()
    for name in type(record).model_fields:
        if name != "trail":
            yield f"{INDENT}{name}: {_value(getattr(record, name))}"
    for step in record.trail:
        yield ""
        yield from _step(step)


def _step(step: TrailStep) -> Iterator[str]:
    yield (
        f"passed {escape(step.stage)} {escape(step.worker_version)} at {utc(step.finished_at)}, "
        f"settings {escape(step.settings_digest)}, {step.batch_size} records in {step.seconds:.3f} s"
        + ("" if step.seed is None else f", seed {step.seed}")
    )
    for model in step.models:
        ran_in = f", {escape(model.variant)}" if model.variant else ""
        yield f"{INDENT}{escape(model.role)}: {escape(model.id)} {escape(model.revision)}{ran_in}"
    yield from _scores(step.scores, INDENT)
    yield from _candidates(step.dropped, INDENT)
    if step.truth:
        yield f"{INDENT}truth: {escape(json.dumps(step.truth, default=str))}"


def _scores(scores: Mapping[str, Score], indent: str) -> Iterator[str]:
    for name, score in scores.items():
        yield f"{indent}{'pass' if score.passes else 'FAIL'} {escape(name)}: {verdict(score)}"


def _candidates(candidates: Sequence[Candidate], indent: str) -> Iterator[str]:
    for candidate in candidates:
        yield f"{indent}dropped {escape(candidate.label)}: {escape(candidate.reason)}"
        yield from _scores(candidate.scores, indent + INDENT)


def _value(value: Any) -> str:
    if isinstance(value, ImageRef):
        return (
            f"{value.width}x{value.height} {escape(value.media_type)}, {value.byte_size} bytes, sha256 {value.sha256}"
        )
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    return escape(value if isinstance(value, str) else json.dumps(value, default=str))


def _bytes(value: bytes | None) -> str:
    if value is None:
        return "none"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = repr(value)
    cut = f" ... ({len(text)} characters)" if len(text) > MAX_BYTES_CHARS else ""
    return escape(text[:MAX_BYTES_CHARS]) + cut
