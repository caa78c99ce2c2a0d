"""Edits: what passes, and every reason why a caption does not."""

from collections.abc import Callable

import pytest

from common.models.protocols import EditReply, EditRequest
from common.runtime.stage import Emit, Reject, Task
from schemas.edits import Edit
from schemas.ids import record_id, seed_of
from schemas.record import MAX_TEXT_LENGTH
from schemas.scores import Bounds
from tests.workers.fakes import FakeEditor, around, caption_record
from workers.edits.reasons import EditsReason
from workers.edits.settings import EditsSettings
from workers.edits.stage import EditsStage

CAPTION = "A dog sits on a sofa."
EDITED = "A cat sits on a sofa."


def outcome(
    reply: str | Callable[[EditRequest], str | None] | None, settings: EditsSettings | None = None
) -> Emit[Edit] | Reject:
    editor = FakeEditor(reply if callable(reply) else lambda _: reply)
    (result,) = EditsStage(settings or EditsSettings(), editor).process([Task(caption_record(CAPTION))])
    return result


def in_turn(*replies: str | None) -> Callable[[EditRequest], str | None]:
    """The i-th seed of the caption gets the i-th reply."""
    by_seed = {seed_of(caption_record().id, f"edit-{i}"): reply for i, reply in enumerate(replies)}
    return lambda request: by_seed[request.seed]


def test_a_good_edit_passes_with_seed_scores_and_truth() -> None:
    result = outcome(f'"{EDITED}"\nEND')
    assert isinstance(result, Emit)
    (edit,) = result.records
    assert (edit.caption, edit.edited_caption) == (CAPTION, EDITED)
    assert edit.id == record_id("edits", "test:#0", 0)
    assert edit.caption_id == "test:#0"
    assert result.seed_of(0) == seed_of("test:#0", "edit-0")
    assert result.truth_of(0) == {"seed": result.seed_of(0)}
    assert {name: score.value for name, score in result.scores_of(0).items()} == {
        "added_marks": 0,
        "added_words": 0,
        "objects_changed": 1,
    }
    assert result.dropped == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, EditsReason.NOTHING_TO_REPLACE),
        ('""', EditsReason.EMPTY_REPLY),
        ("The dog was replaced by a cat on the sofa.", EditsReason.MARKER_WORD),
        ("The Modified caption has a cat.", EditsReason.MARKER_WORD),
        ("The dog becomes a cat.", EditsReason.MARKER_WORD),
        ("a dog sits, on a sofa", EditsReason.UNCHANGED),
        ('Sure! Here you go: "A cat sits on a sofa."', EditsReason.CHATTER),
        ("Sure! A cat sits on a sofa.", EditsReason.CHATTER),
        ("New caption:\nA cat sits on a sofa.", EditsReason.CHATTER),
        ("A dog sits on a sofa. -> A cat sits on a sofa.", EditsReason.CHATTER),
        ("A dog sits on a sofa → A cat sits on a sofa", EditsReason.CHATTER),
        ("A **cat** sits on a sofa.", EditsReason.CHATTER),
        ("A cat sits on a sofa. I hope this helps.", EditsReason.CHATTER),
        ("A dog lies on a sofa.", EditsReason.NO_OBJECT_CHANGED),
        ("A cat sits on a bed.", EditsReason.TOO_MANY_OBJECTS_CHANGED),
        (f"A cat sits on a sofa {'very ' * 9}quietly.", EditsReason.TOO_LONG),
        (f"A {'c' * MAX_TEXT_LENGTH} sits on a sofa.", EditsReason.TOO_LONG),
    ],
)
def test_reasons(reply: str | None, reason: EditsReason) -> None:
    result = outcome(reply)
    assert isinstance(result, Reject)
    assert result.reason is reason


def test_a_reply_that_was_cut_off_is_no_caption_even_where_it_reads_like_one() -> None:
    class Cut(FakeEditor):
        def edit(self, requests):  # type: ignore[no-untyped-def]
            return [EditReply(EDITED, complete=False)]

    (result,) = EditsStage(EditsSettings(), Cut(lambda _: EDITED)).process([Task(caption_record(CAPTION))])
    assert isinstance(result, Reject)
    assert (result.reason, result.detail) == (EditsReason.CUT_OFF, EDITED)


def test_a_reply_that_drops_most_of_the_caption_is_too_short() -> None:
    result = outcome("A cat.", EditsSettings(added_words=Bounds(low=-3)))
    assert isinstance(result, Reject)
    assert result.reason is EditsReason.TOO_SHORT
    assert result.scores["added_words"].value == -4
    assert result.detail == "A cat."


@pytest.mark.parametrize(
    ("name", "value"),
    [("added_marks", 0), ("added_words", 0), ("objects_changed", 1)],
    ids=["added_marks", "added_words", "objects_changed"],
)
@pytest.mark.parametrize("side", ["low", "high"])
@pytest.mark.parametrize("inclusive", [True, False])
def test_bounds_hold_at_the_bound_and_one_step_to_each_side(
    name: str, value: float, side: str, inclusive: bool
) -> None:
    for shift in (-1, 0, 1):
        bounds = Bounds(**{side: value + shift, f"{side}_inclusive": inclusive})
        expected = inclusive if shift == 0 else (shift < 0) == (side == "low")
        assert isinstance(outcome(EDITED, EditsSettings(**{name: bounds})), Emit) is expected, (bounds, value)


def test_defaults_are_one_object_and_at_most_eight_words() -> None:
    settings = EditsSettings()
    assert [value for value, passes in around(settings.objects_changed) if passes and value == int(value)] == [1, 1]
    assert (settings.added_words.low, settings.added_words.high) == (-8, 8)


def test_bad_edits_of_a_caption_ride_along_as_dropped() -> None:
    replies = in_turn("The dog becomes a cat.", EDITED, "a CAT sits on a sofa", "A hen sits on a sofa.", None)
    result = outcome(replies, EditsSettings(edits_per_caption=5))
    assert isinstance(result, Emit)
    assert [edit.edited_caption for edit in result.records] == [EDITED, "A hen sits on a sofa."]
    assert [edit.id for edit in result.records] == [record_id("edits", "test:#0", i) for i in (1, 3)]
    assert [result.seed_of(i) for i in (0, 1)] == [seed_of("test:#0", f"edit-{i}") for i in (1, 3)]
    assert [(c.label, c.reason) for c in result.dropped] == [
        ("edit-0", EditsReason.MARKER_WORD),
        ("edit-2", EditsReason.REPEATED),
        ("edit-4", EditsReason.NOTHING_TO_REPLACE),
    ]


def test_the_first_reply_gives_a_rejected_caption_its_reason() -> None:
    result = outcome(in_turn(CAPTION, None, ""), EditsSettings(edits_per_caption=3))
    assert isinstance(result, Reject)
    assert result.reason is EditsReason.UNCHANGED
    assert [c.reason for c in result.dropped] == [EditsReason.NOTHING_TO_REPLACE, EditsReason.EMPTY_REPLY]


@pytest.mark.parametrize("ending", ["", ".", "...", " ."])
def test_how_a_reply_ends_and_how_words_are_written_is_no_chatter(ending: str) -> None:
    settings = EditsSettings(objects_changed=Bounds())
    assert isinstance(outcome(f"A jack-o'-lantern sits, on a child’s sofa{ending}", settings), Emit)


def test_marks_of_the_caption_may_stay() -> None:
    editor = FakeEditor(lambda request: request.caption.replace("dog", "cat"))
    caption = 'A dog (brown!) reads a sign: "no dogs".'
    (result,) = EditsStage(EditsSettings(objects_changed=Bounds()), editor).process([Task(caption_record(caption))])
    assert isinstance(result, Emit)


def test_marker_words_are_a_setting() -> None:
    settings = EditsSettings(marker_words=("feline",))
    assert isinstance(outcome("A feline sits on a sofa.", settings), Reject)
    assert isinstance(outcome("A replacement sits on a sofa.", settings), Emit)


def test_the_model_is_called_once_for_the_batch() -> None:
    editor = FakeEditor(lambda _: EDITED)
    tasks = [Task(caption_record(CAPTION, number)) for number in range(3)]
    results = EditsStage(EditsSettings(edits_per_caption=2), editor).process(tasks)
    assert editor.calls == [6]
    assert [result.records[0].caption_id for result in results if isinstance(result, Emit)] == [
        "test:#0",
        "test:#1",
        "test:#2",
    ]


def test_a_model_that_swallows_a_reply_is_an_error() -> None:
    class Short(FakeEditor):
        def edit(self, requests):  # type: ignore[no-untyped-def]
            return super().edit(requests)[:-1]

    with pytest.raises(ValueError, match="zip"):
        EditsStage(EditsSettings(), Short(lambda _: EDITED)).process([Task(caption_record())])
