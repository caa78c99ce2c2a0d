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
