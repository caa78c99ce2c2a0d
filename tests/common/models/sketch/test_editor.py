import re

import pytest

from common.models.protocols import EditRequest
from common.models.sketch.editor import SketchEditor
from common.models.sketch.language import mentions_in
from common.models.sketch.truth import Defect
from common.models.sketch.vocabulary import CONCEPTS
from tests.common.models.sketch.cases import cases, faultless_editor

KINDS = {concept.name: concept.kind for concept in CONCEPTS}


def _reply(editor: SketchEditor, caption: str, seed: int = 1) -> tuple[str, dict[str, object]]:
    reply = editor.edit([EditRequest(caption, seed)])[0]
    assert reply is not None
    return reply.text, dict(reply.truth)


def test_one_object_becomes_another_of_its_kind() -> None:
    for case in cases(200):
        assert KINDS[case.first] is KINDS[case.second]
        before = [mention.concept.name for mention in mentions_in(case.caption)]
        after = [mention.concept.name for mention in mentions_in(case.edited)]
        changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        assert changed == [(case.first, case.second)]
        assert case.second not in before
        assert not re.search(r"\b(a [aeiou]|an [^aeiou])", case.edited, re.IGNORECASE)


@pytest.mark.parametrize("caption", ["", "A man on a surfboard.", "Nothing much", "Жираф и зебра", "a train station"])
def test_there_is_no_reply_where_nothing_can_be_replaced(caption: str) -> None:
    assert faultless_editor().edit([EditRequest(caption, 1)]) == [None]


def test_a_word_that_would_change_its_neighbours_meaning_is_left_alone() -> None:
    assert faultless_editor().edit([EditRequest("in a truck bed", 1)]) == [None]


def test_equal_seeds_reply_alike_whatever_else_is_in_the_batch() -> None:
    editor = SketchEditor()
    requests = [EditRequest(case.caption, case.seed) for case in cases(60)]
    alone = [editor.edit([request])[0] for request in requests]
    assert list(editor.edit(requests)) == alone
    assert list(SketchEditor().edit(requests[::-1]))[::-1] == alone


def test_seeds_choose() -> None:
    assert len({_reply(faultless_editor(), "A dog.", seed)[0] for seed in range(40)}) > 5


def test_unchanged() -> None:
    editor = SketchEditor(unchanged_rate=1, chatter_rate=0, two_objects_rate=0)
    text, truth = _reply(editor, "A dog.")
    assert (text, truth["defect"]) == ("A dog.", Defect.UNCHANGED)


def test_chatter_has_a_marker_word() -> None:
    editor = SketchEditor(unchanged_rate=0, chatter_rate=1, two_objects_rate=0)
    text, truth = _reply(editor, "A dog.")
    assert text.startswith("I replaced a dog with a")
    assert truth["defect"] == Defect.CHATTER


def test_two_objects_are_replaced_where_there_are_two() -> None:
    editor = SketchEditor(unchanged_rate=0, chatter_rate=0, two_objects_rate=1)
    text, truth = _reply(editor, "A dog on a couch.")
    assert "dog" not in text
    assert "couch" not in text
    assert (truth["defect"], truth["first"]) == (Defect.TWO_OBJECTS, ["dog", "couch"])
    assert _reply(editor, "A dog.")[1]["defect"] is None


def test_defects_come_at_about_their_rates() -> None:
    editor = SketchEditor()
    defects = [_reply(editor, "A dog on a couch.", seed)[1]["defect"] for seed in range(3000)]
    for defect in (Defect.UNCHANGED, Defect.CHATTER, Defect.TWO_OBJECTS):
        assert 0.01 < defects.count(defect) / len(defects) < 0.03


@pytest.mark.parametrize(
    "options", [{"chatter_rate": 1.1}, {"chatter_rate": -0.1}, {"chatter_rate": 0.7, "unchanged_rate": 0.7}]
)
def test_rates_that_are_none_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="chatter_rate"):
        SketchEditor(**options)


def test_a_negative_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="delay_s"):
        SketchEditor(delay_s=-1)
