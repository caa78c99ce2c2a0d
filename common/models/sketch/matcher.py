"""A matcher of pictures and texts that tells pictograms apart by their silhouettes."""

from collections.abc import Sequence

from PIL import Image

from common.models.protocols import ItcCosine, MatchScale, MatchScore
from common.models.sketch.base import SketchModel
from common.models.sketch.language import Mention, kinds_in, mentions_in, speaks_of_nothing
from common.models.sketch.recogniser import Sight, look
from common.models.sketch.vocabulary import CONCEPTS, Kind

_OFFSET = 0.15
_RIVALRY = 2.0
"""How much it tells against an object that the picture looks more like another one."""
_KIND_DISCOUNT = 0.8
_COLOUR_BONUS, _COLOUR_MALUS = 0.03, 0.06
_NOTHING_IN_NOTHING = 0.28
_NOTHING_IN_SOMETHING = 0.0
_UNKNOWN = 0.1


class SketchMatcher(SketchModel):
    """Scores how well a text names the pictogram in a picture, on the scale of BLIP's ITC cosine.

    The right object scores about 0.8, its kind about 0.55, another object below 0.35. Like the real one, it has little to
    hold on to where a picture shows nothing: even the text that says so stays below 0.3.
    """

    role = "ImageTextMatcher"
    scale = MatchScale.ITC_COSINE

    def match(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> Sequence[Sequence[MatchScore]]:
        self._wait()
        return [
            [ItcCosine(_score(sight, text)) for text in wanted]
            for sight, wanted in ((look(image), wanted) for image, wanted in zip(images, texts, strict=True))
        ]


def _score(sight: Sight, text: str) -> float:
    mentions = mentions_in(text)
    if mentions:
        return sum(_of_mention(sight, mention) for mention in mentions) / len(mentions)
    kinds = kinds_in(text)
    if kinds:
        return sum(_of_kind(sight, kind) for kind in kinds) / len(kinds)
    if speaks_of_nothing(text):
        return _NOTHING_IN_SOMETHING if sight.clear else _NOTHING_IN_NOTHING
    return _UNKNOWN


def _of_mention(sight: Sight, mention: Mention) -> float:
    score = _against_rivals(sight, sight.of(mention.concept))
    if mention.colour is not None and score > 0:
        score += _COLOUR_BONUS if sight.colour_of(mention.concept) == mention.colour else -_COLOUR_MALUS
    return _bounded(score)


def _of_kind(sight: Sight, kind: Kind) -> float:
    closest = max(sight.of(concept) for concept in CONCEPTS if concept.kind is kind)
    return _bounded(_KIND_DISCOUNT * _against_rivals(sight, closest))


def _against_rivals(sight: Sight, likeness: float) -> float:
    return likeness - _OFFSET - _RIVALRY * (float(sight.likeness.max()) - likeness)


def _bounded(score: float) -> float:
    return min(1.0, max(-1.0, score))
