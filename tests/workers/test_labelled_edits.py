"""The object words of 200 caption edits, held to what a careful reader says (object_words.txt)."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from workers.boxes.object_words import ObjectWords, object_words
from workers.edits.reply import added_marks

LIST = Path(__file__).with_name("object_words.txt")
RIGHT_SHARE = 0.95


@dataclass(frozen=True)
class LabelledEdit:
    caption: str
    edited: str
    words: ObjectWords


def _read() -> list[LabelledEdit]:
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [
        LabelledEdit(caption, edited, ObjectWords(tuple(first.split()), tuple(second.split())))
        for caption, edited, first, second in cells
    ]


EDITS = _read()


def test_there_are_200_different_edits() -> None:
    assert len({(edit.caption, edit.edited) for edit in EDITS}) == 200


@pytest.mark.parametrize(
    "edits", [EDITS, EDITS[::2], EDITS[1::2]], ids=["all", "seen while the lists were made", "not seen"]
)
def test_nearly_all_object_words_are_right(edits: list[LabelledEdit]) -> None:
    wrong = [edit for edit in edits if object_words(edit.caption, edit.edited) != edit.words]
    assert 1 - len(wrong) / len(edits) >= RIGHT_SHARE, "\n".join(map(str, wrong))


def test_a_caption_pair_the_other_way_round_has_its_words_the_other_way_round() -> None:
    swapped = [object_words(edit.edited, edit.caption) for edit in EDITS]
    wrong = [
        edit
        for edit, words in zip(EDITS, swapped, strict=True)
        if (words.second, words.first) != (edit.words.first, edit.words.second)
    ]
    assert 1 - len(wrong) / len(EDITS) >= RIGHT_SHARE, "\n".join(map(str, wrong))


def test_no_edit_is_taken_for_chatter() -> None:
    assert [edit for edit in EDITS if added_marks(edit.edited, edit.caption)] == []
