"""A judge of naturalness behind an endpoint."""

import re
from collections.abc import Sequence

from PIL import Image
from pydantic import PositiveFloat, PositiveInt, SecretStr

from common.models.endpoint.base import EndpointModel, Question, data_url
from common.models.endpoint.client import ChatReply, EndpointReplyError
from common.models.prompts import Decoding, Prompt

_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
"""Whole words: the published check also takes the "no" in "know" and "not" for one (papers.md 1.8)."""

_A_WORD_OR_TWO = Decoding(max_new_tokens=5)
"""As many tokens as published, but greedy: sampled ones change the verdict from run to run (papers.md 1.8)."""

_LONGEST_QUOTE = 80
"""Characters of a reply without a verdict that its error shows."""


class EndpointNaturalnessJudge(EndpointModel):
    """Shows both pictures as one and asks a question that is answered yes or no; the prompt has no places.

    A reply that says neither is no verdict, and an error: taken for a no it would reject the pair, and where a model that
    reasons comes to no word of its answer in the tokens it has, every pair.
    """

    role = "NaturalnessJudge"
    setting = "naturalness_judge"
    sample = {}
    shows_picture = True

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        prompt: Prompt,
        decoding: Decoding = _A_WORD_OR_TWO,
        api_key: SecretStr | None = None,
        concurrency: PositiveInt = 16,
        timeout_s: PositiveFloat = 120.0,
    ) -> None:
        """As every model behind an endpoint. No profile says how its reply is drawn, because a local judge draws none; a
        model that thinks before it answers needs more tokens."""
        super().__init__(
            base_url=base_url,
            model=model,
            prompt=prompt,
            decoding=decoding,
            api_key=api_key,
            concurrency=concurrency,
            timeout_s=timeout_s,
        )

    def judge(self, composites: Sequence[Image.Image]) -> Sequence[float]:
        """1.0 for yes, 0.0 for no, whichever is said first. Raises EndpointReplyError where a reply says neither."""
        replies = self._ask([Question(picture=data_url(composite)) for composite in composites])
        return [1.0 if self._verdict(reply) == "yes" else 0.0 for reply in replies]

    def _check(self, reply: ChatReply) -> None:
        self._verdict(reply)

    def _verdict(self, reply: ChatReply) -> str:
        if found := _VERDICT.search(reply.text):
            return found[1].lower()
        cut = "" if reply.complete else f" before it was cut off (`models.{self.setting}.options.decoding`)"
        raise EndpointReplyError(f"{self.identity.id} says neither yes nor no{cut}: {_quoted(reply.text)}")


def _quoted(text: str) -> str:
    """On one line."""
    return repr(text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "...")
