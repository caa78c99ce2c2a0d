"""The contact sheet: which samples it shows, in which words."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from common.blobs import Blobs
from common.kafka import read_to_end
from common.runtime.errors import TransientError
from common.settings import CommonSettings
from ops.dead_letters.filters import Filter
from ops.dead_letters.reading import FoundLetter, find_letters
from ops.demo.drawing import Card, Line, Sheet, Shown, Tone, draw
from schemas import codec, headers
from schemas.boxes import DifferenceBox
from schemas.dead_letters import DeadLetterKind
from schemas.edits import Edit
from schemas.invalid import InvalidRecord
from schemas.pairs import Pair
from schemas.qa import DifferenceQa
from schemas.record import Record
from schemas.scores import Bounds, Score, Scores
from schemas.topics import QA, Names

ACCEPTED = 6
REJECTED = 6
WITHOUT_PICTURES = 4
MOST_READ = 20_000
"""Records looked at per topic: enough for variety, and an end for whoever feeds a million captions."""

SKETCH = "sketch"
SKETCH_NOTICE = (
    "Profile `sketch`: these are drawn pictograms of a small closed world, not photographs. No neural network edited, drew, "
    "measured or described them. What is real is the way they took."
)


def write_sheet(settings: CommonSettings, path: Path) -> None:
    """Draw accepted pairs beside rejected ones from what lies in the topics."""
    blobs = Blobs(settings.blobs)
    rejected = _rejected(settings)
    with_pictures = (card for letter in rejected if (card := _rejected_pair(letter, blobs)))
    draw(
        Sheet(
            title="Image differences: what passed, and what was turned away",
            notice=SKETCH_NOTICE if settings.profile == SKETCH else f"Profile `{settings.profile}`.",
            accepted=list(islice(_accepted(settings, blobs), ACCEPTED)),
            rejected=list(islice(with_pictures, REJECTED)),
            early=list(islice(filter(None, map(_rejected_text, rejected)), WITHOUT_PICTURES)),
        )
    ).save(path, optimize=True)


def _accepted(settings: CommonSettings, blobs: Blobs) -> Iterator[Card]:
    """The first sample of each object replaced."""
    seen: set[tuple[str, ...]] = set()
    topic = Names(settings.prefix).topic(QA.worker)
    for raw in islice(read_to_end(settings.kafka, [topic]), MOST_READ):
        try:
            record = codec.decode(DifferenceQa, raw.value, headers.text_header(raw.headers, headers.SCHEMA))
            if record.first_objects in seen:
                continue
            shown = _shown(record, blobs, Tone.GOOD)
        except (InvalidRecord, TransientError):
            continue
        seen.add(record.first_objects)
        yield Card(
            tag=f"{_joined(record.first_objects)} / {_joined(record.second_objects)}",
            tone=Tone.GOOD,
            pictures=shown,
            lines=(
                Line(record.question, Tone.QUIET, "Q"),
                Line(record.answer, Tone.PLAIN, "A"),
                Line(", ".join(_measured(_scores_of(record))), Tone.FAINT),
            ),
        )


def _rejected(settings: CommonSettings) -> Sequence[FoundLetter]:
    """One dead letter of each stage and reason, in the order of the stream, then second ones, and so on."""
    groups: dict[tuple[str, str], list[FoundLetter]] = {}
    most = ACCEPTED
    for found in islice(find_letters(settings, Filter(kind=DeadLetterKind.REJECTED)), MOST_READ):
        if found.letter is not None:
            group = groups.setdefault((found.stage, found.letter.reason), [])
            if len(group) < most:
                group.append(found)
    return [group[turn] for turn in range(most) for group in groups.values() if turn < len(group)]


def _rejected_pair(found: FoundLetter, blobs: Blobs) -> Card | None:
    """A rejection of something that has pictures; None for one that has none."""
    try:
        record = found.record()
        if not isinstance(record, Pair):
            return None
        shown = _shown(record, blobs, Tone.BAD)
    except (InvalidRecord, TransientError):
        return None
    letter = found.letter
    assert letter is not None
    detail = [Line(letter.detail, Tone.QUIET)] if letter.detail and isinstance(record, DifferenceBox) else []
    return Card(
        tag=f"{found.stage}: {letter.reason}",
        tone=Tone.BAD,
        pictures=shown,
        lines=(*detail, *_score_lines(letter.scores)),
    )


def _rejected_text(found: FoundLetter) -> Card | None:
    """A rejection from before there were pictures; None for one from after."""
    try:
        record = found.record()
    except InvalidRecord:
        return None
    letter = found.letter
    if letter is None or isinstance(record, Pair):
        return None
    said = [Line(letter.detail, Tone.QUIET, "reply")] if letter.detail else []
    return Card(
        tag=f"{found.stage}: {letter.reason}",
        tone=Tone.BAD,
        lines=(*_texts(record), *said, *_score_lines(letter.scores)),
    )


def _texts(record: Record) -> Iterable[Line]:
    if isinstance(record, Edit):
        return [Line(record.caption, Tone.PLAIN), Line(record.edited_caption, Tone.PLAIN)]
    return [Line(str(getattr(record, "caption", "")), Tone.PLAIN)]


def _shown(record: Pair, blobs: Blobs, tone: Tone) -> tuple[Shown, Shown]:
    """The two pictures, each under its box where there is one. Raises as Blobs.picture does."""
    box = record.box if isinstance(record, DifferenceBox) else None
    first, second = (blobs.picture(reference).image for reference in (record.first, record.second))
    return (
        Shown(first, record.caption, record.edited_caption, box, tone),
        Shown(second, record.edited_caption, record.caption, box, tone),
    )


def _joined(objects: Sequence[str]) -> str:
    return ", ".join(objects) or "nothing"


def _scores_of(record: Record) -> Scores:
    return {name: score for step in record.trail for name, score in step.scores.items()}


def _measured(scores: Scores) -> list[str]:
    """What was measured against a bound that could have failed it."""
    return [f"{_words(name)} {score.value:.2f}" for name, score in scores.items() if _bounded(score) and name in SHOWN]


SHOWN = ("pair_similarity", "crop_similarity", "object_match", "text_match", "text_similarity")
"""The published filters; the others of an accepted sample say little."""


def _score_lines(scores: Scores) -> list[Line]:
    """What was measured, failed ones first."""
    ordered = sorted(scores.items(), key=lambda item: item[1].passes)
    return [
        Line(
            f"{_words(name)} {score.value:.3f}, has to be {_rule(score.bounds)}",
            Tone.FAINT if score.passes else Tone.BAD,
        )
        for name, score in ordered
        if _bounded(score)
    ]


def _bounded(score: Score) -> bool:
    return score.bounds.low is not None or score.bounds.high is not None


def _rule(bounds: Bounds) -> str:
    """Bounds in words."""
    low, high = bounds.low, bounds.high
    if low is not None and high is not None:
        return f"{low:g}" if low == high else f"between {low:g} and {high:g}"
    if low is not None:
        return f"{'at least' if bounds.low_inclusive else 'above'} {low:g}"
    return f"{'at most' if bounds.high_inclusive else 'below'} {high:g}"


def _words(name: str) -> str:
    return name.replace("_", " ")
