"""Boxes in pixels."""

from typing import Self

from pydantic import Field, model_validator

from schemas.base import Frozen, Positive


class Box(Frozen):
    """A rectangle `x0, y0, x1, y1` in pixels, right and bottom edge exclusive, inside an image of `width` x `height`."""

    x0: float = Field(ge=0)
    y0: float = Field(ge=0)
    x1: float
    y1: float
    width: Positive
    height: Positive

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if not (self.x0 < self.x1 <= self.width and self.y0 < self.y1 <= self.height):
            raise ValueError(
                f"box ({self.x0}, {self.y0}, {self.x1}, {self.y1}) is empty or leaves the {self.width}x{self.height} image"
            )
        return self

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def area_share(self) -> float:
        """Share of the image that the box covers, in (0, 1]."""
        return self.area / (self.width * self.height)

    def iou(self, other: "Box") -> float:
        """Intersection over union, in [0, 1]."""
        across = min(self.x1, other.x1) - max(self.x0, other.x0)
        down = min(self.y1, other.y1) - max(self.y0, other.y0)
        if across <= 0 or down <= 0:
            return 0.0
        intersection = across * down
        return intersection / (self.area + other.area - intersection)

    def grown(self, pixels: float) -> "Box":
        """The box grown by `pixels` on each side, clamped to the image."""
        return self.model_copy(
            update={
                "x0": max(0.0, self.x0 - pixels),
                "y0": max(0.0, self.y0 - pixels),
                "x1": min(float(self.width), self.x1 + pixels),
                "y1": min(float(self.height), self.y1 + pixels),
            }
        )
