"""The closed sets of reasons that dead letters can have."""

import pytest

from ops.dead_letters.filters import STAGES
from ops.dead_letters.reasons import reasons
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.invalid import InvalidReason
from tests.ops.dead_letters.letters import INVALID, POISON, REJECTED


@pytest.mark.parametrize(
    ("stage", "kind", "known"),
    [
        ("pairs", DeadLetterKind.REJECTED, ("blank_image",)),
        ("pairs", DeadLetterKind.POISON, tuple(PoisonReason)),
        ("pairs", None, ("blank_image", *InvalidReason, *PoisonReason)),
        ("dataset", DeadLetterKind.REJECTED, ()),
        ("ingest", DeadLetterKind.POISON, ()),
    ],
)
def test_a_stage_and_a_kind_have_their_own(stage: str, kind: DeadLetterKind | None, known: tuple[str, ...]) -> None:
    assert tuple(reasons(stage, kind)) == known


def test_every_one_is_known_where_nothing_is_chosen() -> None:
    everything = reasons()
    assert len(set(everything)) == len(everything)
    assert set(everything) == {reason for stage in STAGES for reason in reasons(stage)}
    assert {letter.reason for letter in (REJECTED, POISON, INVALID)} <= set(everything)
    assert {"not_utf8", "unnatural"} <= set(everything)
