"""Describers behind an endpoint: what a region shows, and what differs between two marked pictures."""

from collections.abc import Sequence

from common.models.endpoint.base import EndpointModel, Question, data_url
from common.models.prompts import box_text
from common.models.protocols import Description, DifferenceRequest, RegionRequest


class EndpointRegionDescriber(EndpointModel):
    """Asks once per box, with the whole picture; the prompt has the place `{box}`.

    Each picture is packed once for all its boxes. Their requests follow each other and begin alike, which is what a
    server with a prefix cache needs to encode the picture once.
    """

    role = "RegionDescriber"
    setting = "region_describer"
    sample = {"box": "[0.25, 0.25, 0.75, 0.75]"}
    shows_picture = True

    def describe_regions(self, requests: Sequence[RegionRequest]) -> Sequence[Sequence[Description]]:
        questions = [self._questions(request) for request in requests]
        replies = iter(self._ask([question for own in questions for question in own]))
        return [[Description(next(replies).text) for _ in own] for own in questions]

    def _questions(self, request: RegionRequest) -> list[Question]:
        picture = data_url(request.image)
        return [
            Question({"box": box_text(box)}, picture, seed)
            for box, seed in zip(request.boxes, request.seeds, strict=True)
        ]


class EndpointDifferenceDescriber(EndpointModel):
    """Shows both pictures side by side as one, as published (papers.md 1.7); the prompt has the places `{first}` and
    `{second}` for what was said about the regions."""

    role = "DifferenceDescriber"
    setting = "difference_describer"
    sample = {"first": "a dog", "second": "a cat"}
    shows_picture = True

    def describe_differences(self, requests: Sequence[DifferenceRequest]) -> Sequence[Description]:
        questions = [
            Question(
                {"first": request.first_description, "second": request.second_description},
                data_url(request.composite),
                request.seed,
            )
            for request in requests
        ]
        return [Description(reply.text) for reply in self._ask(questions)]
