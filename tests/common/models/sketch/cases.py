"""Captions over the vocabulary, and pairs drawn from them, for the tests of the sketch world."""

from dataclasses import dataclass

import numpy as np

from common.models.protocols import DrawnPair, EditRequest, PairRequest
from common.models.sketch.editor import SketchEditor
from common.models.sketch.generator import SketchPairGenerator
from common.models.sketch.language import with_article
from common.models.sketch.truth import Defect
from common.models.sketch.vocabulary import CONCEPTS

TEMPLATES = (
    "{A} standing in a grassy field.",
    "A photo of {a} next to {b} on the street.",
    "{A} and {b} near a wooden table, with {c} behind them.",
    "A man looks at {a} on the beach.",
    "Two {bs} and {a} in the snow.",
    "Several {as} in a kitchen with {b}",
    "A red {a_noun} beside {b}, seen by a woman.",
    "there is {a} in this picture",
)
EDITABLE = tuple(concept for concept in CONCEPTS if concept.editable)
PAIR_DEFECTS = (
    Defect.FAINT_EDIT,
    Defect.SCENE_CHANGED,
    Defect.WRONG_OBJECT,
    Defect.DRAWN_TWICE,
    Defect.BLANK,
)


@dataclass(frozen=True)
class Case:
    """A caption, a flawless edit of it, what the edit replaced by what, and a seed."""

    caption: str
    edited: str
    first: str
    second: str
    seed: int


def cases(count: int, seed: int = 1) -> list[Case]:
    """So many different cases, always the same ones for a seed."""
    rng = np.random.default_rng(seed)
    editor = faultless_editor()
    found = []
    for index in range(count):
        a, b, c = (EDITABLE[int(i)] for i in rng.choice(len(EDITABLE), 3, replace=False))
        caption = TEMPLATES[index % len(TEMPLATES)].format_map(
            {
                "A": with_article(a.name).capitalize(),
                "a": with_article(a.name),
                "b": with_article(b.name),
                "c": with_article(c.name),
                "as": a.plural,
                "bs": b.plural,
                "a_noun": a.name,
            }
        )
        reply = editor.edit([EditRequest(caption, seed * 10_000 + index)])[0]
        assert reply is not None
        found.append(Case(caption, reply.text, reply.truth["first"][0], reply.truth["second"][0], index))
    return found


def faultless_editor() -> SketchEditor:
    return SketchEditor(unchanged_rate=0, chatter_rate=0, two_objects_rate=0)


def generator(defect: Defect | None = None) -> SketchPairGenerator:
    """A generator that makes this mistake always and no other."""
    return SketchPairGenerator(**{f"{each}_rate": float(each is defect) for each in PAIR_DEFECTS})


def draw(case: Case, defect: Defect | None = None) -> DrawnPair:
    return generator(defect).draw([PairRequest(case.caption, case.edited, case.seed)])[0]
