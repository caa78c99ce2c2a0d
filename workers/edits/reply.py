"""From what a language model replied to the caption that it means."""

import unicodedata
from collections import Counter

from common.words import words_of

_TOKENS = ("<s>", "</s>", "\nEND")
_RULE = "---"
_OF_WORDS = "-'’,"
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»"}


def clean_reply(reply: str, caption: str) -> str:
    """The new caption on one line, or an empty string where nothing is left.

    Takes away the tokens that frame a turn, what stands above the last `---`, an echo of the caption's words above the answer,
    quotes around the whole, and needless white space (papers.md 1.2).
    """
    text = reply.replace("\r\n", "\n")
    for token in _TOKENS:
        text = text.replace(token, "")
    text = text.rpartition(_RULE)[2]
    lines = [line for line in (_unquoted(line) for line in text.splitlines()) if line]
    if len(lines) > 1 and words_of(lines[0]) == words_of(caption):
        del lines[0]
    return _unquoted(" ".join(lines))


def added_marks(text: str, caption: str) -> int:
    """How many marks the text has that the caption has not, each as often as it stands there.

    Talk around a caption has them: the colon behind "here you go", quotes, an arrow, the stop between two sentences. To
    put one object in the place of another takes none. What words and lists of them are written with is no mark: hyphen,
    apostrophe and comma. Nor is the stop at the end.
    """
    return (_marks(text) - _marks(caption)).total()


def _marks(text: str) -> Counter[str]:
    return Counter(
        character
        for character in text.rstrip(" .")
        if character not in _OF_WORDS and unicodedata.category(character)[0] in "PS"
    )


def _unquoted(text: str) -> str:
    text = " ".join(text.split())
    while _is_quoted_whole(text):
        text = text[1:-1].strip()
    return text


def _is_quoted_whole(text: str) -> bool:
    """Whether one pair of quotes holds all of the text: `"a" or "b"` has two, and an apostrophe is none."""
    if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:
        return False
    inner = text[1:-1]
    quotes_inside = sum(inner.count(mark) for mark in {text[0], text[-1]})
    return quotes_inside % 2 == 1 or quotes_inside == 0 or inner.startswith(text[0])
