"""Settings of `qa`."""

from typing import Annotated

from pydantic import Field, StringConstraints

from common.settings import StageSettings
from schemas.record import MAX_TEXT_LENGTH
from schemas.scores import Bounds

QUESTIONS = (
    "What is different between the two images inside the red boxes?",
    "Look at the red box in each image. How do the two regions differ?",
    "The same region is marked in red in both images. What has changed from the left image to the right one?",
    "Compare what the red boxes show in the left and in the right image, and describe the difference.",
    "Which object differs between the two marked regions, and how?",
    "Please describe how the content of the red box in the second image departs from that in the first.",
)
"""None tells what the pictures show: that is the answer's to say."""

Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT_LENGTH)]


class QaSettings(StageSettings):
    """How the pictures are checked (papers.md 1.8) and marked (papers.md 1.7), and the questions to choose from."""

    box_padding: int = Field(default=5, ge=0, le=1_000)
    """Pixels that the red box is wider than the region on each side, within the picture."""
    line_width: int = Field(default=3, ge=1, le=100)
    """Width in pixels of the red line."""
    bar_width: int = Field(default=20, ge=0, le=1_000)
    """Width in pixels of the black bar between the pictures shown side by side."""
    check_naturalness: bool = False
    """Whether a yes/no model looks at each pair first (papers.md 1.8). It needs `models.naturalness_judge`."""
    naturalness: Bounds = Bounds(low=0.5)
    """How much speaks for "natural", in [0, 1]. Authors' code: any "no" in a sampled reply, and only a tag."""
    questions: tuple[Question, ...] = Field(default=QUESTIONS, min_length=1)
    """One of them is chosen by the record's id."""

    def bounds(self) -> dict[str, Bounds]:
        return super().bounds() | ({} if self.check_naturalness else {"naturalness": Bounds()})
