"""The options of `imgdiff dead-letters` that choose dead letters. Nothing heavy is imported before they are read."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ops.dead_letters.filters import Filter

R = TypeVar("R")
T = TypeVar("T")

KINDS = ("rejected", "invalid", "poison")


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """What the command line says about which dead letters are meant."""

    stage: str | None = None
    caption: str | None = None
    kind: str | None = None
    reason: str | None = None
    error_class: str | None = None
    since: str | None = None
    until: str | None = None
    partition: int | None = None
    offsets: str | None = None
    where: tuple[str, ...] = ()

    def filter(self) -> "Filter":
        """Raises click.UsageError naming the option, what was found and what was expected."""
        from functools import reduce

        from ops.dead_letters.filters import STAGES, Filter, parse_offsets, parse_time
        from ops.dead_letters.where import And, parse_where
        from schemas.dead_letters import DeadLetterKind

        if self.stage is not None and self.stage not in STAGES:
            raise click.UsageError(f"no stage {self.stage!r}, expected one of {', '.join(STAGES)}")
        now = time.time()
        conditions = [_parsed("--where", text, parse_where) for text in self.where]
        found = Filter(
            stage=self.stage,
            caption=self.caption,
            kind=None if self.kind is None else DeadLetterKind(self.kind),
            reason=self.reason,
            error_class=self.error_class,
            since=None if self.since is None else _parsed("--since", self.since, lambda text: parse_time(text, now)),
            until=None if self.until is None else _parsed("--until", self.until, lambda text: parse_time(text, now)),
            partition=self.partition,
            offsets=None if self.offsets is None else _parsed("--offsets", self.offsets, parse_offsets),
            where=reduce(And, conditions) if conditions else None,
        )
        _check_reason(found)
        _check_scores(found)
        if found.since is not None and found.until is not None and found.since >= found.until:
            raise click.UsageError(f"--since {self.since} --until {self.until}: expected the earlier time first")
        return found


def filter_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that choose dead letters; it gets them as `chosen`."""

    @click.option("--stage", metavar="STAGE", help="Only those of one worker, or of ingest.")
    @click.option("--caption", metavar="ID", help="Only those that come from the caption with this id.")
    @click.option("--kind", type=click.Choice(KINDS), help="Only those of one kind.")
    @click.option("--reason", metavar="REASON", help="Only those with this reason.")
    @click.option(
        "--error-class", metavar="CLASS", help="Only those of this class of error, with or without its module."
    )
    @click.option(
        "--since", metavar="TIME", help="Only those that ended then or later: 2026-11-21T15:04 (UTC), 90m, 2h, 7d."
    )
    @click.option("--until", metavar="TIME", help="Only those that ended before.")
    @click.option("--partition", type=click.IntRange(min=0), help="Only those whose input lies in this partition.")
    @click.option(
        "--offsets", metavar="FROM-TO", help="Only those whose input lies at these offsets: 17, 17-40, 17-, -40."
    )
    @click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help="Only those whose scores fulfil this: 'pair_similarity < 0.92', with < <= > >= = !=, and, or, not, "
        "brackets. A score that is not there fulfils no comparison. May be given again: all have to hold.",
    )
    @wraps(command)
    def with_filter(**given: Any) -> R:
        names = [field.name for field in fields(FilterOptions)]
        return command(chosen=FilterOptions(**{name: given.pop(name) for name in names}), **given)

    return with_filter


def _parsed(option: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise click.UsageError(f"{option} {text}: {error}") from error


def _check_reason(found: "Filter") -> None:
    """A mistyped reason would silently choose nothing, and so would one that the stage or the kind does not have."""
    if found.reason is None:
        return
    from ops.dead_letters.reasons import reasons

    known = reasons(found.stage, found.kind)
    if found.reason not in known:
        of = " and ".join(filter(None, [found.stage, found.kind and f"kind {found.kind}"]))
        expected = f"one of {', '.join(known)}" if known else "none"
        raise click.UsageError(f"--reason: no reason {found.reason!r}{of and f' of {of}'}, expected {expected}")


def _check_scores(found: "Filter") -> None:
    """A mistyped score would silently choose nothing."""
    if found.where is None:
        return
    from ops.dead_letters.what_if import FILTERING, score_names

    stages = FILTERING if found.stage is None else tuple(stage for stage in FILTERING if stage == found.stage)
    known = {name: None for stage in stages for name in score_names(stage)}
    for name in sorted(found.where.names() - known.keys()):
        of = f" of {found.stage}" if found.stage else ""
        expected = f"one of {', '.join(known)}" if known else "none"
        raise click.UsageError(f"--where: no score {name!r}{of}, expected {expected}")
