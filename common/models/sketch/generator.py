"""A pair generator that draws two scenes which differ in what their captions differ in."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from PIL import Image

from common.models.protocols import DrawnPair, PairRequest
from common.models.sketch.base import DefectRates, SketchModel, randomness
from common.models.sketch.language import Mention, mentions_in
from common.models.sketch.scene import (
    SIZE,
    THEMES,
    Footprint,
    Layout,
    Thing,
    paint_background,
    put,
    theme_of,
    thing,
    with_grain,
)
from common.models.sketch.truth import Defect, SceneTruth
from common.models.sketch.vocabulary import CONCEPTS, Concept

_SUBJECT_SIDE = 67.0
"""Square root of the area that an edited object covers, in pixels: a fifteenth of the picture."""
_PLURAL_SHARE = 0.74
"""Of that side, where it is drawn twice for a plural: both together cover about as much as one alone."""
_OTHER_SIDE = 48.0
_EXTRA_SIDE = 40.0
_MOST_SUBJECTS = 3
_MOST_OTHERS = 4
_FAINTNESS = 0.06
"""How much of the edit a faint one shows: differences of up to a dozen grey levels."""

_DEFECTS_OF_SUBJECTS = (Defect.FAINT_EDIT, Defect.WRONG_OBJECT, Defect.DRAWN_TWICE)
"""They take an edited object; a pair without one can not have them."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What the captions differ in at one place; None where a caption has nothing that is known."""

    first: Mention | None
    second: Mention | None

    @property
    def plural(self) -> bool:
        return any(mention is not None and mention.plural for mention in (self.first, self.second))


@dataclass(frozen=True, slots=True)
class _Placed:
    """A thing and where it stands."""

    thing: Thing
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class _Edited:
    """A place with what stands there in either picture."""

    first: Thing | None
    second: Thing | None
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class _Plan:
    """A scene in both its versions, before it is painted. `extra` stands in the second picture only."""

    theme: str
    edited: tuple[_Edited, ...]
    extra: tuple[_Placed, ...]
    others: tuple[_Placed, ...]

    @property
    def first(self) -> tuple[_Placed, ...]:
        return tuple(_Placed(each.first, each.footprint) for each in self.edited if each.first)

    @property
    def second(self) -> tuple[_Placed, ...]:
        return tuple(_Placed(each.second, each.footprint) for each in self.edited if each.second)


class SketchPairGenerator(SketchModel):
    """Draws both pictures of a pair, 256 x 256, from one seed: background, layout and the other objects are the same.

    The rates say how often it makes each mistake (see `Defect`).
    """

    role = "PairGenerator"

    def __init__(
        self,
        *,
        faint_edit_rate: float = 0.025,
        scene_changed_rate: float = 0.025,
        wrong_object_rate: float = 0.025,
        drawn_twice_rate: float = 0.025,
        blank_rate: float = 0.02,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(delay_s=delay_s)
        self._defects = DefectRates(
            {
                Defect.FAINT_EDIT: faint_edit_rate,
                Defect.SCENE_CHANGED: scene_changed_rate,
                Defect.WRONG_OBJECT: wrong_object_rate,
                Defect.DRAWN_TWICE: drawn_twice_rate,
                Defect.BLANK: blank_rate,
            }
        )

    def draw(self, requests: Sequence[PairRequest]) -> Sequence[DrawnPair]:
        self._wait()
        return [self._draw(request) for request in requests]

    def _draw(self, request: PairRequest) -> DrawnPair:
        shared, subjects = _aligned(mentions_in(request.caption), mentions_in(request.edited_caption))
        defect = self._defects.draw(randomness(request.seed, "pair defect"))
        if defect in _DEFECTS_OF_SUBJECTS and not subjects:
            defect = None
        theme = theme_of(request.caption, randomness(request.seed, "theme"))
        plan = _planned(theme, shared, subjects, defect, request.seed)
        if defect is Defect.DRAWN_TWICE and not plan.extra:
            defect = None
        first, second = _painted(plan, defect, request.seed)
        truth = SceneTruth(
            defect=defect,
            theme=theme,
            first=tuple(subject.first.concept.name if subject.first else None for subject in subjects),
            second=tuple(subject.second.concept.name if subject.second else None for subject in subjects),
            boxes=tuple(each.footprint.box for each in plan.edited),
            extra_boxes=tuple(each.footprint.box for each in plan.extra),
            others=tuple((each.thing.concept.name, each.footprint.box) for each in plan.others),
        )
        return DrawnPair(first, second, truth.fields())


def _aligned(first: Sequence[Mention], second: Sequence[Mention]) -> tuple[list[Mention], list[_Subject]]:
    """The objects that both captions name, and those that they differ in, in order."""
    if len(first) == len(second):
        # Word for word, as an edit leaves them: a matcher of sequences would shift a dog onto the next dog.
        pairs = list(zip(first, second, strict=True))
        return (
            [one for one, other in pairs if one.concept is other.concept],
            [_Subject(one, other) for one, other in pairs if one.concept is not other.concept],
        )
    shared: list[Mention] = []
    subjects: list[_Subject] = []
    names, other_names = ([mention.concept.name for mention in mentions] for mentions in (first, second))
    matcher = SequenceMatcher(None, names, other_names, autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        if tag == "equal":
            shared.extend(first[start:end])
            continue
        for offset in range(max(end - start, other_end - other_start)):
            subjects.append(
                _Subject(
                    first[start + offset] if start + offset < end else None,
                    second[other_start + offset] if other_start + offset < other_end else None,
                )
            )
    return shared, subjects


def _planned(
    theme_name: str, shared: Sequence[Mention], subjects: Sequence[_Subject], defect: Defect | None, seed: int
) -> _Plan:
    """Edited objects take their places first, then what is drawn twice, then the others as far as there is room."""
    theme, layout, paints = THEMES[theme_name], Layout(randomness(seed, "layout")), randomness(seed, "paints")

    def one(concept: Concept, side: float, colour: str | None) -> Thing:
        return thing(concept, side, colour, theme, paints)

    edited: list[_Edited] = []
    for subject in subjects:
        mentions = (subject.first, subject.second)
        concepts = [mention.concept if mention else None for mention in mentions]
        if defect is Defect.WRONG_OBJECT:
            concepts = [*_strangers(concepts, seed)]
        side = _SUBJECT_SIDE * (_PLURAL_SHARE if subject.plural else 1.0)
        first, second = (
            one(concept, side, mention.colour if mention else None) if concept else None
            for concept, mention in zip(concepts, mentions, strict=True)
        )
        drawn = [each for each in (first, second) if each is not None]
        for _ in range(2 if subject.plural else 1):
            footprint = layout.place(drawn) if len(edited) < _MOST_SUBJECTS else None
            if footprint is not None:
                edited.append(_Edited(first, second, footprint))
    twice = [one(each.second.concept, _EXTRA_SIDE, each.second.paint.name) for each in edited if each.second]
    extra = _placed(layout, twice[:1]) if defect is Defect.DRAWN_TWICE else ()
    crowd = [mention for mention in shared for _ in range(2 if mention.plural else 1)][:_MOST_OTHERS]
    others = _placed(layout, [one(each.concept, _OTHER_SIDE, each.colour) for each in crowd])
    return _Plan(theme_name, tuple(edited), extra, others)


def _placed(layout: Layout, things: Sequence[Thing]) -> tuple[_Placed, ...]:
    """The things with their places; those that find none are left out, as in a crowded picture."""
    places = [(each, layout.place([each])) for each in things]
    return tuple(_Placed(each, footprint) for each, footprint in places if footprint is not None)


def _strangers(concepts: Sequence[Concept | None], seed: int) -> tuple[Concept, Concept]:
    """Two different concepts of other kinds than these."""
    kinds = {concept.kind for concept in concepts if concept}
    others = [concept for concept in CONCEPTS if concept.editable and concept.kind not in kinds]
    one, other = randomness(seed, "strangers").choice(len(others), 2, replace=False)
    return others[int(one)], others[int(other)]


def _painted(plan: _Plan, defect: Defect | None, seed: int) -> tuple[Image.Image, Image.Image]:
    background = paint_background(THEMES[plan.theme], randomness(seed, "background"))
    first = _with(background, (*plan.others, *plan.first))
    if defect is Defect.SCENE_CHANGED:
        second = _another_scene(plan, seed)
    else:
        second = _with(background, (*plan.others, *plan.second, *plan.extra))
    if defect is Defect.FAINT_EDIT:
        second = Image.blend(first, second, _FAINTNESS)
    pictures = [
        with_grain(first, randomness(seed, "first grain")),
        with_grain(second, randomness(seed, "second grain")),
    ]
    if defect is Defect.BLANK:
        pictures[int(randomness(seed, "blank").integers(2))] = Image.new("RGB", (SIZE, SIZE))
    return pictures[0], pictures[1]


def _another_scene(plan: _Plan, seed: int) -> Image.Image:
    """The second version moved to another background, everything at another place."""
    rng = randomness(seed, "another scene")
    theme = [name for name in THEMES if name != plan.theme][int(rng.integers(len(THEMES) - 1))]
    moved = _placed(Layout(rng), [placed.thing for placed in (*plan.second, *plan.others)])
    return _with(paint_background(THEMES[theme], rng), moved)


def _with(background: Image.Image, placed: Sequence[_Placed]) -> Image.Image:
    picture = background.copy()
    for each in placed:
        put(picture, each.thing, each.footprint)
    return picture
