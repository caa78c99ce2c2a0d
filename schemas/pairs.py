"""`pairs`: two pictures drawn from one latent, one per caption."""

from typing import ClassVar

from schemas.edits import Edit
from schemas.images import ImageRef


class Pair(Edit):
    """An image pair: `first` shows `caption`, `second` shows `edited_caption`."""

    topic: ClassVar[str] = "pairs"
    version: ClassVar[int] = 1

    first: ImageRef
    second: ImageRef

    @property
    def digests(self) -> tuple[str, str]:
        """The SHA-256 of both pictures: the same for all regions of one pair."""
        return self.first.sha256, self.second.sha256
