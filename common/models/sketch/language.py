"""What a text says, as far as the sketch world understands it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from common.models.sketch.palette import COLOURS
from common.models.sketch.vocabulary import KIND_WORDS, Concept, Kind, Meaning, meanings

_WORD = re.compile(r"[^\W\d_]+")
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)
_LONGEST_PHRASE = 3
_REACH_OF_A_COLOUR = 3
"""A colour belongs to the object at most so many words after it ("a red double decker bus")."""

_HEADS = frozenset(
    "station stations court courts player players game games match field track tracks house houses stop stops shop shops "
    "store room rooms seat seats paper bowl tank lid door doors car cars yard park race show food meat soup sauce juice "
    "pie bread salad tree trees stand shelf case cover desk table tables window windows handle wall walls floor dock "
    "ride rider riders driver drivers team uniform bat racket head stall booth pot pots bed beds garden tower towers "
    "lane lot rack racks box boxes bag bags screen screens tap side top sign signs light lights statue print pattern "
    "slice slices pan sticks bar battery cake board boards set sets bench benches curtain curtains".split()
)
"""A known word before one of these only says what sort of thing follows: a "train station" is no train."""

_EMPTINESS = frozenset({"empty", "nothing", "blank", "bare"})
EMPTY_PATCH = "an empty patch"
"""How a describer begins when it sees nothing."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word in lower case and where it stands in its text."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mention:
    """A known object in a text: characters `start` to `end`, and its colour where the text gives one."""

    concept: Concept
    plural: bool
    start: int
    end: int
    colour: str | None


def words_of(text: str) -> list[Word]:
    """The words of a text, in order."""
    return [Word(match.group().lower(), match.start(), match.end()) for match in _WORD.finditer(text)]


def mentions_in(text: str) -> list[Mention]:
    """The known objects that a text names, in order. The longest phrase wins: a hot dog is no dog."""
    return list(_mentions(words_of(text)))


def kinds_in(text: str) -> list[Kind]:
    """The kinds that a text names without saying which object."""
    return [KIND_WORDS[word.text] for word in words_of(text) if word.text in KIND_WORDS]


def speaks_of_nothing(text: str) -> bool:
    """Whether a text says that there is nothing to see."""
    return any(word.text in _EMPTINESS for word in words_of(text))


def replaced(text: str, mention: Mention, concept: Concept) -> str:
    """The text with another object in the mention's place: in its number, its case, and behind the right article."""
    noun = concept.plural if mention.plural else concept.name
    before, old, after = text[: mention.start], text[mention.start : mention.end], text[mention.end :]
    if old.isupper():
        noun = noun.upper()
    elif old[0].isupper():
        noun = noun.capitalize()
    article = _ARTICLE.search(before)
    if article:
        before = before[: article.start()] + _in_case_of(article[1], article_of(noun)) + article[2]
    return before + noun + after


def article_of(noun: str) -> str:
    """The indefinite article. No word of the vocabulary sounds otherwise than it is spelt."""
    return "an" if noun[:1].lower() in "aeiou" else "a"


def with_article(noun: str) -> str:
    return f"{article_of(noun)} {noun}"


def _in_case_of(model: str, word: str) -> str:
    return word.capitalize() if model[0].isupper() else word


def _mentions(words: list[Word]) -> Iterator[Mention]:
    position = 0
    while position < len(words):
        length, meaning = _longest(words, position)
        if meaning is None:
            position += 1
            continue
        following = position + length
        if following == len(words) or words[following].text not in _HEADS:
            yield Mention(
                concept=meaning.concept,
                plural=meaning.plural,
                start=words[position].start,
                end=words[following - 1].end,
                colour=_colour_before(words, position),
            )
        position = following


def _longest(words: list[Word], position: int) -> tuple[int, Meaning | None]:
    table = meanings()
    for length in range(min(_LONGEST_PHRASE, len(words) - position), 0, -1):
        meaning = table.get(tuple(word.text for word in words[position : position + length]))
        if meaning is not None:
            return length, meaning
    return 0, None


def _colour_before(words: list[Word], position: int) -> str | None:
    for word in reversed(words[max(0, position - _REACH_OF_A_COLOUR) : position]):
        if word.text in COLOURS:
            return word.text
        if word.text == "gray":
            return "grey"
        if (word.text,) in meanings():
            return None
    return None
