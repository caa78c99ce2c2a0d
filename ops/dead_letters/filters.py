"""Which dead letters somebody means: by stage, caption, kind, reason, class of error, time, place and scores."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ops.dead_letters.where import Condition
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo
from schemas.topics import INGEST, ROUTES

STAGES = (INGEST, *(route.worker for route in ROUTES))
"""Who writes dead letters, in the order of the stream."""

_UNITS: Mapping[str, float] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGO = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_OFFSETS = re.compile(r"(\d{1,18})?(-)?(\d{1,18})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets from `first` to `last`, both among them; None is open."""

    first: int | None = None
    last: int | None = None

    def __contains__(self, offset: int) -> bool:
        return (self.first is None or offset >= self.first) and (self.last is None or offset <= self.last)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are wanted; None means any.

    `caption` is the id of the caption that the input comes from, which is its key. `partition` and `offsets` are those
    of the input, as a list shows them. `since` and `until` are seconds since the epoch, `since` among them: when the
    input ended.
    """

    stage: str | None = None
    caption: str | None = None
    kind: DeadLetterKind | None = None
    reason: str | None = None
    error_class: str | None = None
    since: float | None = None
    until: float | None = None
    partition: int | None = None
    offsets: OffsetRange | None = None
    where: Condition | None = None

    def topics(self) -> list[str]:
        """The topics that can hold such dead letters, without prefix, in the order of the stream."""
        stages = [self.stage] if self.stage else STAGES
        return [
            f"{stage}.{ending}"
            for stage in stages
            for ending in ("rejected", "failed")
            if not (stage == INGEST and ending == "rejected")
            and (self.kind is None or (self.kind is DeadLetterKind.REJECTED) == (ending == "rejected"))
        ]

    def wants(self, letter: DeadLetter | None, key: bytes | None) -> bool:
        """Whether this one of its topics is wanted, with the key of its input.

        None is one whose headers are broken: wanted where its stage and caption are all that is asked for.
        """
        if self.caption is not None and key != self.caption.encode(errors="surrogateescape"):
            return False
        if letter is None:
            return self == Filter(stage=self.stage, caption=self.caption)
        return (
            self.kind in {None, letter.kind}
            and self.reason in {None, letter.reason}
            and (self.error_class is None or _is_named(letter.error, self.error_class))
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and self.partition in {None, letter.source.partition}
            and (self.offsets is None or letter.source.offset in self.offsets)
            and (self.where is None or self.where.holds({name: s.value for name, s in letter.scores.items()}))
        )


def parse_time(text: str, now: float) -> float:
    """Seconds since the epoch of `2026-11-21`, `2026-11-21T15:04:05` (UTC where no zone is given), or `90m` before `now`.

    Raises ValueError.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"found {text!r}, expected a time such as 2026-11-21T15:04 (UTC), or how long ago: 45s, 90m, 2h, 7d"
        ) from error


def parse_offsets(text: str) -> OffsetRange:
    """The range of `17`, `17-40`, `17-` or `-40`. Raises ValueError."""
    match = _OFFSETS.fullmatch(text)
    first, dash, last = match.groups() if match else (None, None, None)
    if (first is None and last is None) or (dash is None and last is not None):
        raise ValueError(f"found {text!r}, expected offsets such as 17, 17-40, 17- or -40")
    low = None if first is None else int(first)
    high = low if dash is None else None if last is None else int(last)
    if low is not None and high is not None and low > high:
        raise ValueError(f"found {text!r}, expected the lower offset first")
    return OffsetRange(low, high)


def _is_named(error: ErrorInfo | None, wanted: str) -> bool:
    """Whether `wanted` is the error's class, with or without its module."""
    return error is not None and wanted in {error.class_name, error.class_name.rpartition(".")[2]}


def replayable() -> tuple[str, ...]:
    """The stages whose dead letters can be sent again: ingest reads files."""
    return tuple(stage for stage in STAGES if stage != INGEST)
