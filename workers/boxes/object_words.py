"""The nouns that only one of the two captions has."""

from dataclasses import dataclass

from common.words import object_changes
from workers.boxes.settings import ObjectRule


@dataclass(frozen=True, slots=True)
class ObjectWords:
    """What only the caption (`first`) and what only the edited caption (`second`) names, as lemmas in their order."""

    first: tuple[str, ...]
    second: tuple[str, ...]

    def suffice_for(self, rule: ObjectRule) -> bool:
        """Whether any box can pass the rule: it needs a word on either side, or on both."""
        sides = (bool(self.first), bool(self.second))
        return all(sides) if rule is ObjectRule.BOTH else any(sides)


def object_words(caption: str, edited_caption: str) -> ObjectWords:
    """The object words of a caption pair (papers.md 1.5, step 1)."""
    changes = object_changes(caption, edited_caption)
    return ObjectWords(
        first=tuple(dict.fromkeys(word for change in changes for word in change.first)),
        second=tuple(dict.fromkeys(word for change in changes for word in change.second)),
    )
