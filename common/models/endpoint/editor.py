"""A caption editor behind an endpoint."""

from collections.abc import Sequence

from common.models.endpoint.base import EndpointModel, Question
from common.models.protocols import EditReply, EditRequest


class EndpointCaptionEditor(EndpointModel):
    """Asks once per request; the prompt has the place `{caption}`. Seeds are sent along: whether equal ones give equal
    replies is the endpoint's affair."""

    role = "CaptionEditor"
    setting = "caption_editor"
    sample = {"caption": "A dog sits on a sofa."}
    shows_picture = False

    def edit(self, requests: Sequence[EditRequest]) -> Sequence[EditReply]:
        replies = self._ask([Question({"caption": request.caption}, seed=request.seed) for request in requests])
        return [EditReply(reply.text, complete=reply.complete) for reply in replies]
