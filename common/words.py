"""Which words two captions differ in, and which of those name objects (papers.md 1.5)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from common.nouns import noun_lemmas, tokens_of


@dataclass(frozen=True, slots=True)
class Change:
    """A run of words of the first text, and the run of words that stands in its place in the second."""

    first: tuple[str, ...]
    second: tuple[str, ...]


def words_of(text: str) -> tuple[str, ...]:
    """The words, lower-case, without punctuation around them and without a possessive 's."""
    return tuple(token.word for token in tokens_of(text))


def changes(first: Sequence[str], second: Sequence[str]) -> list[Change]:
    """The word diff: what has to be put in the place of what to turn `first` into `second`, in order."""
    return [Change(tuple(first[old]), tuple(second[new])) for old, new in _runs(first, second)]


def object_changes(first: str, second: str) -> list[Change]:
    """The changes between two captions that touch objects, each once, as the lemmas of their nouns.

    A noun on both sides of the diff was only moved: it is no change.
    """
    tokens = [tokens_of(first), tokens_of(second)]
    lemmas = [noun_lemmas(own) for own in tokens]
    runs = _runs(*([token.word for token in own] for own in tokens))
    found = [Change(_nouns(lemmas[0][old]), _nouns(lemmas[1][new])) for old, new in runs]
    moved = {noun for change in found for noun in change.first} & {noun for change in found for noun in change.second}
    kept = [Change(_without(moved, change.first), _without(moved, change.second)) for change in found]
    return list(dict.fromkeys(change for change in kept if change.first or change.second))


def _runs(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[slice, slice]]:
    """Where the words differ: the place in the first, and the place in the second."""
    for tag, i0, i1, j0, j1 in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if tag != "equal":
            yield slice(i0, i1), slice(j0, j1)


def _nouns(lemmas: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(lemma for lemma in lemmas if lemma is not None)


def _without(moved: set[str], nouns: Sequence[str]) -> tuple[str, ...]:
    return tuple(noun for noun in nouns if noun not in moved)
