"""A caption editor over the closed vocabulary."""

from collections.abc import Sequence

import numpy as np

from common.models.protocols import EditReply, EditRequest
from common.models.sketch.base import DefectRates, SketchModel, randomness
from common.models.sketch.language import Mention, mentions_in, replaced, with_article
from common.models.sketch.truth import Defect, EditTruth
from common.models.sketch.vocabulary import Concept, substitutes

_Swap = tuple[Mention, Concept]


class SketchEditor(SketchModel):
    """Replaces a known object by another of its kind; None for a caption without one.

    The rates say how often it hands the caption back as it was, chats about what it did, or replaces two objects (where
    there are two).
    """

    role = "CaptionEditor"

    def __init__(
        self,
        *,
        unchanged_rate: float = 0.02,
        chatter_rate: float = 0.02,
        two_objects_rate: float = 0.02,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(delay_s=delay_s)
        self._defects = DefectRates(
            {Defect.UNCHANGED: unchanged_rate, Defect.CHATTER: chatter_rate, Defect.TWO_OBJECTS: two_objects_rate}
        )

    def edit(self, requests: Sequence[EditRequest]) -> Sequence[EditReply | None]:
        self._wait()
        return [self._edit(request) for request in requests]

    def _edit(self, request: EditRequest) -> EditReply | None:
        rng = randomness(request.seed, "edit")
        possible = _possible_swaps(request.caption, rng)
        if not possible:
            return None
        defect = self._defects.draw(rng)
        chosen = [int(i) for i in rng.permutation(len(possible))]
        if defect is Defect.TWO_OBJECTS and len(possible) < 2:
            defect = None
        swaps = sorted(
            (possible[i] for i in chosen[: 2 if defect is Defect.TWO_OBJECTS else 1]), key=lambda swap: swap[0].start
        )
        truth = EditTruth(
            defect, tuple(mention.concept.name for mention, _ in swaps), tuple(concept.name for _, concept in swaps)
        )
        return EditReply(_reply(request.caption, swaps, defect), truth.fields())


def _possible_swaps(caption: str, rng: np.random.Generator) -> list[_Swap]:
    """For each editable object of the caption one to put in its place, which the caption does not name already."""
    mentions = mentions_in(caption)
    named = {mention.concept for mention in mentions}
    swaps: list[_Swap] = []
    for mention in mentions:
        new = [concept for concept in substitutes(mention.concept) if concept not in named]
        if mention.concept.editable and new:
            swap = mention, new[int(rng.integers(len(new)))]
            if _changes_nothing_else(caption, mentions, swap):
                swaps.append(swap)
    return swaps


def _changes_nothing_else(caption: str, mentions: Sequence[Mention], swap: _Swap) -> bool:
    """Whether the other words keep their meaning: a "truck bed" names a bed, a "truck sink" a truck and a sink."""
    expected = [swap[1] if mention is swap[0] else mention.concept for mention in mentions]
    return [mention.concept for mention in mentions_in(replaced(caption, *swap))] == expected


def _reply(caption: str, swaps: Sequence[_Swap], defect: Defect | None) -> str:
    if defect is Defect.UNCHANGED:
        return caption
    text = caption
    for mention, concept in reversed(swaps):
        text = replaced(text, mention, concept)
    if defect is Defect.CHATTER:
        old, new = swaps[0][0].concept.name, swaps[0][1].name
        return f"I replaced {with_article(old)} with {with_article(new)}. {text}"
    return text
