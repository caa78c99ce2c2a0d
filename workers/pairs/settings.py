"""Settings of `pairs`."""

from pydantic import Field

from common.settings import StageSettings
from schemas.scores import Bounds


class PairsSettings(StageSettings):
    """How many pairs to draw, and when a picture counts as blank."""

    pairs_per_edit: int = Field(default=1, ge=1, le=64)
    """How many pairs to draw. Each has a seed of its own."""
    grey_levels: Bounds = Bounds(low=0)
    """Brightest minus darkest value of a picture's most varied channel, 0 to 255; of the two pictures the lower one."""
