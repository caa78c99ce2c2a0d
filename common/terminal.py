"""Texts from elsewhere (records, models, libraries, the network), made harmless to whoever reads them in a terminal."""

import unicodedata

_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, change the direction of writing, or show as nothing."""


def escape(text: str, keep: str = "") -> str:
    """The text with control and invisible characters as `\\x1b` or `\\u202e`, but for those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _STEERING
        else character.encode("unicode_escape").decode()
        for character in text
    )
