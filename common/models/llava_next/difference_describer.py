"""`DifferenceDescriber`: each region has a picture of its own with red boxes, so nothing can be shared; rows are batched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from pydantic import PositiveInt

from common.models.llava_next.batches import bounded
from common.models.llava_next.model import LlavaNext, identity
from common.models.llava_next.room import KV_BYTES
from common.models.micro_batches import trial_size
from common.models.prompts import Decoding, Prompt
from common.models.protocols import Description, DifferenceRequest
from common.models.torch_device import to_device
from common.models.weights import Weights
from common.settings import ComputeSettings
from schemas.trail import ModelId

_WARM_UP_SIZE = (2068, 1024)
"""Of two pictures of the published generator side by side (papers.md 1.3 and 1.7)."""
_WARM_UP = Decoding(max_new_tokens=2)


@dataclass(frozen=True, slots=True)
class _Row:
    """A question with its picture in it: embeddings of shape (tokens, hidden)."""

    embeddings: torch.Tensor
    seed: int


class LlavaNextDifferenceDescriber:
    """Says what differs between the red boxes of two pictures that it sees side by side."""

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        *,
        prompt: Prompt,
        template: str,
        decoding: Decoding,
        kv_bytes: PositiveInt = KV_BYTES,
    ) -> None:
        """`prompt` has the places {first} and {second} for the two descriptions; `template` is a chat template.

        `kv_bytes` bounds the keys and values of one batch, as in the region describer.
        Raises ConfigurationError where the weights are missing, broken or of another architecture, ValueError where
        prompt or template do not fit.
        """
        prompt.require("first", "second")
        self.identity: ModelId = identity("DifferenceDescriber", weights, compute, kv_bytes)
        self.llava = LlavaNext(weights, compute)
        self.llava.question(prompt, template, {"first": "", "second": ""})
        self._prompt, self._template, self._decoding = prompt, template, decoding
        self._row_tokens = kv_bytes // self.llava.bytes_per_token

    @torch.inference_mode()
    def warm_up(self) -> None:
        """On a GPU as many composites of the usual size as a batch takes, else one."""
        image = Image.new("RGB", _WARM_UP_SIZE)
        request = DifferenceRequest(image, image, image, "", "", 0)
        tokens = sum(len(row.embeddings) for row in self._rows([request])) + self._decoding.max_new_tokens
        self._describe([request] * trial_size(max(1, self._row_tokens // tokens), self.llava.device), _WARM_UP)

    def describe_differences(self, requests: Sequence[DifferenceRequest]) -> Sequence[Description]:
        """One description per request, in order. Raises ValueError for descriptions that the model has no room for."""
        return [Description(text) for text in self._describe(requests, self._decoding)]

    @torch.inference_mode()
    def _describe(self, requests: Sequence[DifferenceRequest], decoding: Decoding) -> list[str]:
        def tokens_of(rows: Sequence[_Row]) -> int:
            return len(rows) * (max(len(row.embeddings) for row in rows) + decoding.max_new_tokens)

        batches = bounded(self._rows(requests), tokens_of, self._row_tokens)
        return [text for batch in batches for text in self._replies(batch, decoding)]

    def _rows(self, requests: Sequence[DifferenceRequest]) -> Iterator[_Row]:
        for request in requests:
            question = self.llava.question(
                self._prompt,
                self._template,
                {"first": request.first_description, "second": request.second_description},
            )
            features = self.llava.picture_features(request.composite)
            tokens = [*question.before, *[self.llava.image_token] * len(features), *question.after]
            self.llava.check_room(len(tokens), self._decoding)
            yield _Row(self.llava.embedded(tokens, features), request.seed)

    def _replies(self, rows: Sequence[_Row], decoding: Decoding) -> list[str]:
        """Rows padded in front to the longest."""
        length = max(len(row.embeddings) for row in rows)
        (pad,) = self.llava.embedded([self.llava.pad_token])
        embeddings = pad.repeat(len(rows), length, 1)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for number, row in enumerate(rows):
            embeddings[number, length - len(row.embeddings) :] = row.embeddings
            mask[number, length - len(row.embeddings) :] = 1
        return self.llava.replies(
            decoding,
            [row.seed for row in rows],
            0,
            inputs_embeds=embeddings,
            attention_mask=to_device(mask, self.llava.device),
        )
