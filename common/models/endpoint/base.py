"""What all models behind an endpoint share: their options, their start, and who they say they are."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, ClassVar

from PIL import Image
from pydantic import PositiveFloat, PositiveInt, SecretStr

from common.models.endpoint.client import ChatReply, ChatRequest, Endpoint
from common.models.prompts import Decoding, Prompt, turns_of
from schemas.trail import ModelId

UNKNOWN_REVISION = "endpoint"
"""The revision of a model whose endpoint does not say."""

_SAMPLE_SIDE = 64
"""In pixels: the picture of the first request, larger than the patch of any vision model."""


@dataclass(frozen=True, slots=True)
class Question:
    """What stands in the prompt's places, the picture that is shown before it as a data URL, and the reply's seed."""

    values: Mapping[str, str] = field(default_factory=dict)
    picture: str | None = None
    seed: int = 0


class EndpointModel:
    """A model behind an OpenAI-compatible endpoint.

    `identity` carries the model's name, and as its revision the `system_fingerprint` that the endpoint reported at the
    start, or `endpoint` where it reports none: what stands behind the name is the endpoint's affair and may change.
    """

    role: ClassVar[str]
    setting: ClassVar[str]
    """Its name below `models` in the settings."""
    sample: ClassVar[Mapping[str, str]]
    """The places of the prompt, each with something to ask the first request with."""
    shows_picture: ClassVar[bool]

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        prompt: Prompt,
        decoding: Decoding,
        api_key: SecretStr | None = None,
        concurrency: PositiveInt = 16,
        timeout_s: PositiveFloat = 120.0,
    ) -> None:
        """`base_url` ends where the API's paths begin, mostly in `/v1`. The chat template is the endpoint's.

        Without an `api_key` the one of the environment's OPENAI_API_KEY is sent, if there is one. `concurrency` is how
        many requests are open at once, `timeout_s` how long each may take to be answered as a whole.
        """
        prompt.require(*self.sample)
        self._prompt = prompt
        self._decoding = decoding
        self._endpoint = Endpoint(
            setting=f"models.{self.setting}.options",
            base_url=base_url,
            model=model,
            api_key=api_key,
            concurrency=concurrency,
            timeout_s=timeout_s,
        )
        self.identity = ModelId(role=self.role, id=model, revision=UNKNOWN_REVISION)

    def warm_up(self) -> None:
        """See that the endpoint answers: for its models, and for one token.

        Raises TransientError where it is not there yet, ConfigurationError naming the setting that is wrong.
        """
        self._endpoint.check_model()
        picture = data_url(Image.new("RGB", (_SAMPLE_SIDE, _SAMPLE_SIDE))) if self.shows_picture else None
        request = self._request(Question(self.sample, picture))
        reply = self._endpoint.check_request(replace(request, decoding=replace(self._decoding, max_new_tokens=1)))
        self.identity = self.identity.model_copy(update={"revision": reply.fingerprint or UNKNOWN_REVISION})

    def _ask(self, questions: Sequence[Question]) -> list[ChatReply]:
        """One reply per question, in order."""
        return self._endpoint.complete([self._request(question) for question in questions], self._check)

    def _check(self, reply: ChatReply) -> None:
        """Raises EndpointReplyError for a reply that is no answer to what this model is asked. By default any is one: what
        it is worth is for the stage to say."""

    def _request(self, question: Question) -> ChatRequest:
        text = self._prompt.fill(question.values)
        said: Any = text
        if question.picture is not None:
            # The picture first: requests about the same one begin alike, and servers keep what they computed for that.
            shown = {"type": "image_url", "image_url": {"url": question.picture}}
            said = [shown, {"type": "text", "text": text}]
        return ChatRequest(turns_of(self._prompt.system, said), self._decoding, question.seed)


def data_url(image: Image.Image) -> str:
    """The picture without loss, so that the model sees what a local one would see; packed quickly rather than tightly."""
    packed = BytesIO()
    image.save(packed, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
