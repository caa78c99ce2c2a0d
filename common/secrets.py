"""The secrets that this process was given, so that nothing that it writes down has them: logs, errors, dead letters.

Errors of libraries quote what they were called with, and nobody can know all of their words. What a secret is, is known.
"""

import json
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "**********"

MIN_LENGTH = 4
"""Shorter ones are not looked for: they are in every text, and hiding them there would give them away."""


class Secrets:
    """A set that only grows. Thread-safe: it is replaced, never changed."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def remember(self, secrets: Iterable[str]) -> None:
        """From now on these are hidden, also as Python, JSON or a URL would write them."""
        found = {each for each in secrets if len(each) >= MIN_LENGTH}
        spelt = {
            form for each in found for form in (each, repr(each)[1:-1], json.dumps(each)[1:-1], quote(each, safe=""))
        }
        self._known = tuple(sorted({*self._known, *spelt}, key=len, reverse=True))

    def hidden_in(self, text: str) -> str:
        """The text with HIDDEN in place of every secret."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text


SECRETS = Secrets()
"""Those of this process. Reading settings adds to them."""
