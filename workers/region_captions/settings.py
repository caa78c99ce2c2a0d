"""Settings of `region-captions`. Defaults are the paper's; code and recipe are one setting away."""

from pydantic import Field

from common.models.protocols import MatchScale
from common.settings import StageSettings
from schemas.scores import Bounds


class RegionCaptionsSettings(StageSettings):
    """Thresholds and variants of the first stage of the Difference Captions Generator (papers.md 1.6)."""

    crop_padding: int = Field(default=5, ge=0, le=1_000)
    """Pixels that the crops are wider than the box on each side when they are matched. Recipe: 0."""
    text_match: Bounds = Bounds(low=0.4)
    """Score of a crop with its own description; of the two pictures the lower one, so that both sides have to pass.
    Authors' code: above 0.35. Recipe: from 0.4, inclusive, as ITM probability."""
    text_match_scale: MatchScale = MatchScale.ITC_COSINE
    """The scale that `text_match` is meant for; another one than the matcher's is a configuration error."""
    skip_text_match: bool = False
    """Measure the text match and hold it to no bounds. Recipe: true, as its filter looks for pictures that its texts do
    not name, finds none and lets every region pass."""
    text_similarity: Bounds = Bounds(high=0.85)
    """Cosine of the two descriptions. Recipe: 0 to 0.8, both inclusive."""
    text_similarity_first: bool = False
    """Whether a region that fails both ways is rejected for its text similarity. Authors' code: true."""

    def bounds(self) -> dict[str, Bounds]:
        return super().bounds() | ({"text_match": Bounds()} if self.skip_text_match else {})
