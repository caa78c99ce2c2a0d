"""Which words two captions differ in, and which of those name objects.

The rule is the published one (papers.md 1.5): lower-case words without punctuation, a word diff, lemmas, and nouns by the
word alone. The published tagger needs a corpus download; here a dictionary that comes as a package takes its place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from lemminflect import getAllLemmas, getAllLemmasOOV

from common.word_lists import ACTIONS, DESCRIBING_WORDS, FUNCTION_WORDS, NOUN_LEMMAS, THINGS_IN_ING

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")
_NOUN_TAGS = ("NOUN", "PROPN")
_UNLISTED_ADJECTIVE = re.compile(r".{3}(less|ish|ed|ing|ly|ous|ful|able|ible|like|ese|ian|ican|ic|some)$")
"""How words end that the dictionary lacks and that name no object."""


@dataclass(frozen=True, slots=True)
class Change:
    """A run of words of the first text, and the run of words that stands in its place in the second."""

    first: tuple[str, ...]
    second: tuple[str, ...]


def words_of(text: str) -> tuple[str, ...]:
    """The words, lower-case, without punctuation around them and without a possessive 's."""
    return tuple(_POSSESSIVE.sub("", word) for word in _WORD.findall(text.lower()))


def changes(first: Sequence[str], second: Sequence[str]) -> list[Change]:
    """The word diff: what has to be put in the place of what to turn `first` into `second`, in order."""
    opcodes = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    return [Change(tuple(first[i0:i1]), tuple(second[j0:j1])) for tag, i0, i1, j0, j1 in opcodes if tag != "equal"]


def object_changes(first: str, second: str) -> list[Change]:
    """The changes between two captions that touch objects, each once, as the lemmas of their nouns.

    A noun on both sides of the diff was only moved: it is no change.
    """
    found = [
        Change(_nouns(change.first), _nouns(change.second)) for change in changes(words_of(first), words_of(second))
    ]
    moved = {noun for change in found for noun in change.first} & {noun for change in found for noun in change.second}
    kept = [Change(_without(moved, change.first), _without(moved, change.second)) for change in found]
    return list(dict.fromkeys(change for change in kept if change.first or change.second))


def noun_lemma(word: str) -> str | None:
    """The dictionary form of a lower-case word that names an object, or None where it does not."""
    if word in NOUN_LEMMAS:
        return NOUN_LEMMAS[word]
    if word in FUNCTION_WORDS or word in DESCRIBING_WORDS or word in ACTIONS or not _spelled(word):
        return None
    listed = getAllLemmas(word)
    if not listed:
        return _unlisted_noun(word)
    nouns = [str(lemma) for tag in _NOUN_TAGS for lemma in listed.get(tag, ())]
    if not nouns or _is_verb_in_ing(word, listed.get("VERB", ())):
        return None
    return nouns[0]


def _nouns(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(lemma for word in words if (lemma := noun_lemma(word)) is not None)


def _without(moved: set[str], nouns: Sequence[str]) -> tuple[str, ...]:
    return tuple(noun for noun in nouns if noun not in moved)


def _spelled(word: str) -> bool:
    return len(word) > 1 and not any(letter.isdigit() for letter in word)


def _unlisted_noun(word: str) -> str | None:
    """Names, brands, new and misspelt words are nouns; a compound (t-shirt, close-up) is what its last part is."""
    if _UNLISTED_ADJECTIVE.search(word):
        return None
    _, hyphen, head = word.rpartition("-")
    if hyphen and noun_lemma(head) is None:
        return None
    return str(getAllLemmasOOV(word, "NOUN")["NOUN"][0]) if word.endswith("s") else word


def _is_verb_in_ing(word: str, verb_lemmas: Sequence[str]) -> bool:
    return word.endswith("ing") and word not in THINGS_IN_ING and any(lemma != word for lemma in verb_lemmas)
