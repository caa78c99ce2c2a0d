"""How large everything is: tiny for a CPU, the real sizes for a GPU."""

from dataclasses import dataclass
from typing import Literal

from common.settings import ComputeSettings

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Scale:
    """`side` of the pictures and `segmented` as FastSAM sees them, in pixels; replies in tokens."""

    name: str
    samples: int
    side: int
    segmented: int
    steps: int
    edit_tokens: int
    region_tokens: int
    difference_tokens: int
    dtype: Dtype
    pairs_per_call: int | None
    """Of the pair generator; None for the largest that fits."""

    def compute(self, device: str) -> ComputeSettings:
        return ComputeSettings(device=device, dtype=self.dtype)


SCALES = {
    "tiny": Scale(
        name="tiny",
        samples=4,
        side=128,
        segmented=256,
        steps=10,
        edit_tokens=12,
        region_tokens=8,
        difference_tokens=8,
        dtype="float32",
        pairs_per_call=4,
    ),
    # The published values (papers.md 1.2 to 1.7), but for the sampling of the edits: both sides are greedy.
    "full": Scale(
        name="full",
        samples=4,
        side=1024,
        segmented=1024,
        steps=50,
        edit_tokens=128,
        region_tokens=64,
        difference_tokens=128,
        dtype="float16",
        pairs_per_call=None,
    ),
}
