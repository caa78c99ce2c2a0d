"""A judge of naturalness behind an endpoint."""

import re
from collections.abc import Sequence

from PIL import Image

from common.models.endpoint.base import EndpointModel, Question, data_url

_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
"""Whole words: the published check also takes the "no" in "know" and "not" for one (papers.md 1.8)."""

_UNDECIDED = 0.5


class EndpointNaturalnessJudge(EndpointModel):
    """Shows both pictures as one and asks a question that is answered yes or no; the prompt has no places."""

    role = "NaturalnessJudge"
    setting = "naturalness_judge"
    sample = {}
    shows_picture = True

    def judge(self, composites: Sequence[Image.Image]) -> Sequence[float]:
        """1.0 for yes, 0.0 for no, whichever is said first; 0.5 for a reply that says neither."""
        replies = self._ask([Question(picture=data_url(composite)) for composite in composites])
        return [_share_of_yes(reply.text) for reply in replies]


def _share_of_yes(text: str) -> float:
    verdict = _VERDICT.search(text)
    if verdict is None:
        return _UNDECIDED
    return 1.0 if verdict[1].lower() == "yes" else 0.0
