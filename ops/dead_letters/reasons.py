"""The reasons that dead letters can have. They are closed sets: one of no set is a mistyped one."""

from collections.abc import Sequence

from ops.dead_letters.filters import STAGES
from ops.ingest.items import ItemReason
from ops.workers import spec_of
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.invalid import InvalidReason
from schemas.topics import INGEST


def reasons(stage: str | None = None, kind: DeadLetterKind | None = None) -> Sequence[str]:
    """Those of a stage and a kind, None for all of them, each once and in the order of the stream."""
    stages = STAGES if stage is None else (stage,)
    kinds = tuple(DeadLetterKind) if kind is None else (kind,)
    return tuple(dict.fromkeys(reason for each in kinds for writer in stages for reason in _of(writer, each)))


def _of(stage: str, kind: DeadLetterKind) -> Sequence[str]:
    if stage == INGEST:
        return tuple(ItemReason) if kind is DeadLetterKind.INVALID else ()
    if kind is DeadLetterKind.REJECTED:
        return tuple(spec_of(stage).reasons)
    return tuple(InvalidReason) if kind is DeadLetterKind.INVALID else tuple(PoisonReason)
