"""What a profile says to a language model, and how the model is to answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from pydantic import ConfigDict

from schemas.geometry import Box

_CLOSED = ConfigDict(extra="forbid")
"""A misspelt key in a profile is an error, and does not quietly leave a value at its default."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a reply is drawn. Temperature 0 is greedy; above it, each reply has a seed of its own."""

    __pydantic_config__ = _CLOSED

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"found {self}, expected max_new_tokens >= 1, temperature >= 0 and top_p in (0, 1]")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is said to the model: a system sentence, if any, and a text with places in braces such as `{caption}`."""

    __pydantic_config__ = _CLOSED

    text: str
    system: str | None = None

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its places filled. Values are put in as they are: braces in a caption stay braces."""
        return self.text.format_map(values)

    def require(self, *places: str) -> None:
        """Raises ValueError where the text has other places than these."""
        try:
            found = {name for _, name, _, _ in Formatter().parse(self.text) if name is not None}
        except ValueError as error:
            raise ValueError(f"prompt {self.text!r}: {error}") from error
        if found != set(places):
            expected = ", ".join(f"{{{place}}}" for place in places)
            raise ValueError(f"prompt {self.text!r}: expected each of the places {expected or 'none'}, and no other")


Turn = dict[str, Any]


def turns_of(system: Any | None, said: Any) -> list[Turn]:
    """A conversation as chat models take it: the system's turn where there is one, and the user's."""
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, {"role": "user", "content": said}]


def box_text(box: Box) -> str:
    """The box as the published prompts give it: shares of width and height with two decimals (papers.md 1.6)."""
    shares = (box.x0 / box.width, box.y0 / box.height, box.x1 / box.width, box.y1 / box.height)
    return f"[{', '.join(f'{share:.2f}' for share in shares)}]"
