"""`docs/reasons.md`."""

from enum import StrEnum

from ops.docs.docstrings import explanations
from ops.docs.markdown import code, page, table
from ops.ingest.items import ItemReason
from ops.workers import WORKERS, spec_of
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.invalid import InvalidReason
from schemas.topics import INGEST

INTRODUCTION = """\
An input that does not make it lies as it was, byte for byte, in one of its worker's two dead-letter topics (after the
prefix), with headers that say why. `imgdiff dead-letters list --stage boxes --reason pair_too_similar` lists them, `imgdiff
dead-letters show pairs/3/17` tells everything about one: the scores against their bounds, the error, the record. How to
try other thresholds on them, and how to send them again, is said in [dead letters](dead-letters.md)."""

REJECTED = """\
Some reasons stand for what a stage weighed inside one input, such as a box among boxes. Those that were dropped lie
beside the scores of the input: in its dead letter, or in the trail of what became of it."""

FAILED = "Reasons of every worker. A failure is nobody's opinion: somebody should look at it."

INGESTED = f"""\
Items of a file that are no captions. They lie in the topic `{INGEST}.failed`, kind `invalid`; the captions around
them arrive. Blank lines of texts and JSON lines are no items, though each counts as a
position."""


def reasons_page() -> str:
    """Every reason with what it means."""
    rejecting = [worker for worker in WORKERS if len(spec_of(worker).reasons)]
    kinds = explanations(DeadLetterKind)
    return page(
        "Reasons",
        INTRODUCTION,
        table(
            ["Kind", "Topic", "Meaning"],
            [
                [code(kind), code("<worker>.rejected" if kind == DeadLetterKind.REJECTED else "<worker>.failed"), text]
                for kind, text in kinds.items()
            ],
        ),
        "## Rejected",
        REJECTED,
        *(block for worker in rejecting for block in (f"### {worker}", _table(spec_of(worker).reasons))),
        "## Failed",
        FAILED,
        "### invalid",
        _table(InvalidReason),
        "### poison",
        _table(PoisonReason),
        "## Ingest",
        INGESTED,
        _table(ItemReason),
    )


def _table(reasons: type[StrEnum]) -> str:
    return table(["Reason", "Meaning"], [[code(reason), text] for reason, text in explanations(reasons).items()])
