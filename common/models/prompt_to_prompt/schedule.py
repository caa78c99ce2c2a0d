"""In which steps what is replaced."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.models.prompt_to_prompt.alignment import Tokens


@dataclass(frozen=True, slots=True)
class Schedule:
    """Shares of the steps, counted from the first. The values are those of the authors' code (papers.md 1.3).

    The self-attention of the first `self_replace`, the cross-attention of a word of the first `cross_replace`, or of
    the share that `cross_replace_words` gives for the word.
    """

    steps: int = 50
    self_replace: float = 0.4
    cross_replace: float = 1.0
    cross_replace_words: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"option `steps`: found {self.steps}, expected at least 1")
        named = {f"cross_replace_words.{word}": share for word, share in self.cross_replace_words.items()}
        shares = {"self_replace": self.self_replace, "cross_replace": self.cross_replace, **named}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"option `{name}`: found {share}, expected a share in [0, 1]")

    @property
    def self_steps(self) -> int:
        """How many steps take over the base picture's self-attention."""
        return int(self.steps * self.self_replace)

    @property
    def cross_steps(self) -> int:
        """How many steps take over cross-attention of any word, whatever the prompts say."""
        return max(map(self._cross_steps, (self.cross_replace, *self.cross_replace_words.values())))

    def cross_steps_of(self, tokens: Tokens, length: int) -> list[int]:
        """For each of the text encoder's slots, how many steps take over its cross-attention."""
        default = self._cross_steps(self.cross_replace)
        own = [self._cross_steps(self._share_of(word)) for word in tokens.words]
        return own + [default] * (length - len(own))

    def _share_of(self, word: str | None) -> float:
        return self.cross_replace if word is None else self.cross_replace_words.get(word, self.cross_replace)

    def _cross_steps(self, share: float) -> int:
        """The authors' schedule has a row more than there are steps (p2p.md): 0.8 of 9 steps are 8."""
        return int(share * (self.steps + 1))
