"""Which token of the edited prompt stands where in the base prompt: a global alignment of the two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt as a text encoder reads it, without padding. Begin and end are tokens too, also of a prompt cut short.

    `words[j]` is the word that token j belongs to, as blanks part words; None for begin and end.
    """

    ids: tuple[int, ...]
    words: tuple[str | None, ...]


def tokenise(tokenizer: Any, prompt: str) -> Tokens:
    """The tokens that a CLIP tokenizer makes of the prompt, at most as many as the text encoder takes."""
    encoded = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length, return_offsets_mapping=True)
    return Tokens(
        tuple(encoded["input_ids"]),
        tuple(_word_at(prompt, start) if end > start else None for start, end in encoded["offset_mapping"]),
    )


def align(base: Sequence[int], edited: Sequence[int]) -> list[int | None]:
    """For each token of the edited prompt its place in the base prompt, None for a new one.

    A match counts 1, a mismatch -1, a gap 0, and of equal scores a new token goes before a dropped one before a match
    (p2p.md). A mismatch is never better than two gaps, so what is aligned is equal.
    """
    best = _scores(base, edited)
    places: list[int | None] = [None] * len(edited)
    row, column = len(base), len(edited)
    while row and column:
        if best[row, column] == best[row, column - 1]:
            column -= 1
        elif best[row, column] == best[row - 1, column]:
            row -= 1
        else:
            row, column = row - 1, column - 1
            places[column] = row
    return places


def padded(places: Sequence[int | None], length: int) -> list[int | None]:
    """The places of all slots of the text encoder: padding stands where it stands (p2p.md)."""
    return [*places, *range(len(places), length)]


def _scores(base: Sequence[int], edited: Sequence[int]) -> npt.NDArray[np.int64]:
    """The best score of the first `row` tokens of the base prompt with the first `column` of the edited one."""
    best = np.zeros((len(base) + 1, len(edited) + 1), dtype=np.int64)
    for row, one in enumerate(base, start=1):
        for column, other in enumerate(edited, start=1):
            diagonal = best[row - 1, column - 1] + (1 if one == other else -1)
            best[row, column] = max(best[row, column - 1], best[row - 1, column], diagonal)
    return best


def _word_at(prompt: str, place: int) -> str:
    before, after = prompt[:place].rpartition(" ")[2], prompt[place:].partition(" ")[0]
    return before + after
