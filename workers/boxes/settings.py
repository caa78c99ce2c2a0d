"""Settings of `boxes`. Defaults are the paper's; what the authors' code and the later recipe do is one setting away."""

from enum import StrEnum

from pydantic import Field

from common.models.protocols import MatchScale
from common.settings import StageSettings
from schemas.scores import Bounds


class ObjectRule(StrEnum):
    """Which of the two crops has to show an object of its caption."""

    EITHER = "either"
    """Paper and authors' code."""
    BOTH = "both"
    """Recipe."""


class BoxesSettings(StageSettings):
    """Thresholds and variants of the Difference Area Generator (papers.md 1.4, 1.5)."""

    pair_similarity: Bounds = Bounds(low=0.9, high=0.98)
    """Cosine of the two pictures. Recipe: 0.9 to 0.99, both inclusive."""
    round_similarity_to: int | None = Field(default=None, ge=0, le=9)
    """Decimals that the cosine of the two pictures is rounded to before it is compared. Authors' code: 3."""
    crop_similarity: Bounds = Bounds(high=0.85)
    """Cosine of the two crops of a box. Recipe: 0 to 0.85, both inclusive."""
    object_match: Bounds = Bounds(low=0.35)
    """Best score of a crop with the object words of its caption. Recipe: from 0.4, inclusive, as ITM probability."""
    object_match_scale: MatchScale = MatchScale.ITC_COSINE
    """The scale that `object_match` is meant for; another one than the matcher's is a configuration error."""
    object_rule: ObjectRule = ObjectRule.EITHER
    """Which of the two crops has to show an object of its caption."""
    swap_crops_of_second_boxes: bool = False
    """For boxes found in the second picture hold each crop against the other caption's words. Authors' code: true."""
    sort_by_difference: bool = True
    """Whether the most different boxes come first, and so survive overlap and cap. Recipe: false."""
    overlap: Bounds = Bounds(high=0.5, high_inclusive=True)
    """Largest IoU of a box with those before it that were kept."""
    overlap_adds_pixel: bool = False
    """Count right and bottom edge as inside when measuring overlap, which makes small boxes overlap a little more or
    less. Authors' code and recipe: true."""
    max_boxes_before_area: int | None = Field(default=None, ge=1)
    """Boxes per pair that `area_share` is asked about, none for all. Authors' code: 10."""
    area_share: Bounds = Bounds()
    """Share of the picture that the box covers. Paper: open. Authors' code: from 1/400, inclusive. Recipe: to 1/10,
    inclusive."""
    max_boxes: int | None = Field(default=5, ge=1)
    """Boxes per pair in the end, none for all. Recipe: none."""
    crops_per_call: int = Field(default=256, ge=2)
    """How many crops are held in memory and given to a model at once."""
