"""Which words of a text name objects.

By the word alone at first, as published (papers.md 1.5); the published tagger needs a corpus download, here a dictionary
that comes as a package takes its place. Many English words are nouns and verbs, though ("docks", "paint"), and a word
alone does not tell. Where the words around it do, they are asked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lemminflect import getAllLemmas, getAllLemmasOOV

from common.word_lists import (
    ACTIONS,
    DESCRIBING_WORDS,
    DETERMINERS,
    FUNCTION_WORDS,
    NOUN_LEMMAS,
    NUMBERS,
    PLURALS_BEFORE_NOUNS,
    SUBJECT_WORDS,
    THINGS_AMONG_ACTIONS,
    THINGS_IN_ING,
    TIMES,
)

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")
_NOUN_TAGS = ("NOUN", "PROPN")
_UNLISTED_ADJECTIVE = re.compile(r".{3}(less|ish|ed|ing|ly|ous|ful|able|ible|like|ese|ian|ican|ic|some)$")
"""How words end that the dictionary lacks and that name no object."""

_NO_OBJECTS = ACTIONS | DESCRIBING_WORDS | FUNCTION_WORDS | TIMES


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text, lower-case, without punctuation around it and without a possessive 's."""

    word: str
    possessive: bool = False
    """Whether the text has it with a possessive 's."""
    follows_break: bool = False
    """Whether a comma or the like stands between it and the word before."""


def tokens_of(text: str) -> tuple[Token, ...]:
    """The words of a text in order."""
    lower = text.lower()
    tokens: list[Token] = []
    end = 0
    for match in _WORD.finditer(lower):
        word = _POSSESSIVE.sub("", match.group())
        between = lower[end : match.start()].strip()
        tokens.append(Token(word, word != match.group(), bool(tokens) and bool(between)))
        end = match.end()
    return tuple(tokens)


def noun_lemmas(tokens: Sequence[Token]) -> tuple[str | None, ...]:
    """For each word its dictionary form where it names an object in this text, else None."""
    lemmas: list[str | None] = []
    for place in range(len(tokens)):
        lemmas.append(_lemma_at(place, tokens, lemmas))
    return tuple(lemmas)


def noun_lemma(word: str) -> str | None:
    """The dictionary form of a lower-case word that alone names an object, or None where it does not."""
    if word in NOUN_LEMMAS:
        return NOUN_LEMMAS[word]
    return None if word in _NO_OBJECTS or word in THINGS_AMONG_ACTIONS or not _spelled(word) else _listed_noun(word)


def _lemma_at(place: int, tokens: Sequence[Token], before: Sequence[str | None]) -> str | None:
    """`before` says of each earlier word whether it names an object."""
    word = tokens[place].word
    if word in THINGS_AMONG_ACTIONS:
        return _listed_noun(word) if _opens_a_noun(place, tokens) else None
    lemma = noun_lemma(word)
    return None if lemma is not None and _is_verb_here(place, tokens, before, lemma) else lemma


def _opens_a_noun(place: int, tokens: Sequence[Token]) -> bool:
    """Whether the word before asks for a noun: "a fly", "two watches", "a shop of watches"."""
    if place == 0 or tokens[place].follows_break:
        return False
    left = tokens[place - 1]
    return left.possessive or left.word in DETERMINERS | NUMBERS | DESCRIBING_WORDS or left.word == "of"


def _is_verb_here(place: int, tokens: Sequence[Token], before: Sequence[str | None], lemma: str) -> bool:
    """Whether a word that can be either is the verb of its clause. What stays open is taken as the noun."""
    token = tokens[place]
    if place == 0 or token.follows_break or "VERB" not in getAllLemmas(token.word):
        return False
    left = tokens[place - 1]
    has_subject = before[place - 1] is not None and not left.possessive
    if _has_object(place, tokens) and (has_subject or left.word in SUBJECT_WORDS):
        return True  # "a man boards the train", "to board a train", "is painting a wall"
    if not has_subject or token.word.endswith("ing"):
        return False
    if lemma != token.word:
        return _ends_a_singular(place, tokens, before)  # "a bird floats": no plural follows "a"
    plural_left = before[place - 1] != left.word or left.word == "people"
    return plural_left and left.word not in PLURALS_BEFORE_NOUNS and _is_followed_by_function_word(place, tokens)


def _has_object(place: int, tokens: Sequence[Token]) -> bool:
    """Whether a determiner comes next, as after a verb; nouns are not followed by one."""
    right = _right_of(place, tokens)
    return right is not None and right.word in DETERMINERS


def _is_followed_by_function_word(place: int, tokens: Sequence[Token]) -> bool:
    right = _right_of(place, tokens)
    return right is None or right.word in FUNCTION_WORDS


def _right_of(place: int, tokens: Sequence[Token]) -> Token | None:
    if place + 1 == len(tokens) or tokens[place + 1].follows_break:
        return None
    return tokens[place + 1]


def _ends_a_singular(place: int, tokens: Sequence[Token], before: Sequence[str | None]) -> bool:
    """Whether nouns stand before the word, before these maybe adjectives, and before these "a" or "an"."""
    start = place
    while start > 0 and before[start - 1] is not None and not tokens[start].follows_break:
        start -= 1
        if tokens[start].possessive:
            return False
    while start > 0 and _may_be_adjective(tokens[start - 1].word) and not tokens[start].follows_break:
        start -= 1
    return start > 0 and tokens[start - 1].word in {"a", "an"}


def _may_be_adjective(word: str) -> bool:
    return word not in FUNCTION_WORDS and word not in ACTIONS and not word.endswith("ing")


def _spelled(word: str) -> bool:
    return len(word) > 1 and not any(letter.isdigit() for letter in word)


def _listed_noun(word: str) -> str | None:
    listed = getAllLemmas(word)
    if not listed:
        return _unlisted_noun(word)
    nouns = [str(lemma) for tag in _NOUN_TAGS for lemma in listed.get(tag, ())]
    if not nouns or _is_verb_in_ing(word, listed.get("VERB", ())):
        return None
    return nouns[0]


def _unlisted_noun(word: str) -> str | None:
    """Names, brands, new and misspelt words are nouns; a compound (t-shirt, close-up) is what its last part is."""
    if _UNLISTED_ADJECTIVE.search(word):
        return None
    _, hyphen, head = word.rpartition("-")
    if hyphen and noun_lemma(head) is None:
        return None
    if word.endswith("ies"):
        return word[:-1]  # the dictionary knows the nouns in -y; new ones (selfie, hoodie) end in -ie
    return str(getAllLemmasOOV(word, "NOUN")["NOUN"][0]) if word.endswith("s") else word


def _is_verb_in_ing(word: str, verb_lemmas: Sequence[str]) -> bool:
    return word.endswith("ing") and word not in THINGS_IN_ING and any(lemma != word for lemma in verb_lemmas)
