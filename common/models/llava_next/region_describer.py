"""`RegionDescriber`: the text comes behind the picture, so that all boxes of a picture share what was read of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from pydantic import NonNegativeInt, PositiveInt

from common.models.llava_next.batches import bounded
from common.models.llava_next.model import LlavaNext, Question, identity
from common.models.llava_next.prefix import Prefix, PrefixCache, check_shareable, picture_key, prefix_of, rows_of
from common.models.llava_next.room import KV_BYTES, PREFIX_BYTES
from common.models.micro_batches import trial_size
from common.models.prompts import Decoding, Prompt, box_text
from common.models.protocols import Description, RegionRequest
from common.models.torch_device import to_device
from common.models.weights import Weights
from common.settings import ComputeSettings
from schemas.geometry import Box

_WARM_UP_SIDE = 1024
"""Of the square pictures that the published generator draws (papers.md 1.3)."""
_WARM_UP = Decoding(max_new_tokens=2)


@dataclass(frozen=True, slots=True)
class _Row:
    """One box: what was read of its picture, and the tokens that follow."""

    prefix: Prefix
    suffix: Sequence[int]
    seed: int


class LlavaNextRegionDescriber:
    """Describes regions of a picture that is encoded once for all its boxes.

    The vision tower and the language model read each picture once; every box continues a copy of the keys and values.
    """

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        *,
        prompt: Prompt,
        template: str,
        decoding: Decoding,
        kv_bytes: PositiveInt = KV_BYTES,
        prefix_bytes: NonNegativeInt = PREFIX_BYTES,
    ) -> None:
        """`prompt` has the place {box}; `template` is a chat template that puts the picture in front of the text.

        `kv_bytes` bounds the keys and values of one batch; by default 5 boxes of the 7B or 3 of the 13B, in 16 bits, of
        pictures of 1024 x 1024 pixels, which have 2,928 tokens. `prefix_bytes` bounds what is kept of pictures for the next
        batch: with less than a pair takes, a pair that is cut by a batch's end is encoded twice.
        While a batch runs, what its pictures share lies beside it, less than `kv_bytes` again.
        Raises ConfigurationError where the weights are missing, broken or of another architecture, ValueError where
        prompt or template do not fit.
        """
        prompt.require("box")
        self.identity = identity("RegionDescriber", weights, compute, kv_bytes)
        self.llava = LlavaNext(weights, compute)
        check_shareable(self.llava, weights.id)
        self._prompt, self._template, self._decoding = prompt, template, decoding
        self._row_tokens = kv_bytes // self.llava.bytes_per_token
        self._prefixes = PrefixCache(prefix_bytes)
        self._before = self._shared_beginning()

    @torch.inference_mode()
    def warm_up(self) -> None:
        """On a GPU as many boxes of a picture of the usual size as a batch takes, else one. Nothing of it stays."""
        box = Box(x0=0, y0=0, x1=1, y1=1, width=_WARM_UP_SIDE, height=_WARM_UP_SIDE)
        image = Image.new("RGB", (_WARM_UP_SIDE, _WARM_UP_SIDE))
        tokens = self._prefix(image).tokens + len(self._question(box).after) + self._decoding.max_new_tokens
        rows = trial_size(max(1, self._row_tokens // tokens), self.llava.device)
        self._describe([RegionRequest(image, [box] * rows, range(rows))], _WARM_UP)
        self._prefixes.clear()

    def describe_regions(self, requests: Sequence[RegionRequest]) -> Sequence[Sequence[Description]]:
        """For each request a description per box, in order."""
        texts = iter(self._describe(requests, self._decoding))
        return [[Description(next(texts)) for _ in request.boxes] for request in requests]

    @torch.inference_mode()
    def _describe(self, requests: Sequence[RegionRequest], decoding: Decoding) -> list[str]:
        """One text per box of all requests."""

        def tokens_of(rows: Sequence[_Row]) -> int:
            longest = max(row.prefix.tokens for row in rows) + max(len(row.suffix) for row in rows)
            return len(rows) * (longest + decoding.max_new_tokens)

        batches = bounded(self._rows(requests), tokens_of, self._row_tokens)
        return [text for batch in batches for text in self._continued(batch, decoding)]

    def _rows(self, requests: Sequence[RegionRequest]) -> Iterator[_Row]:
        for request in requests:
            # Held for all its boxes, however little the cache may keep.
            prefix = self._prefix(request.image) if request.boxes else None
            for box, seed in zip(request.boxes, request.seeds, strict=True):
                assert prefix is not None
                suffix = self._question(box).after
                self.llava.check_room(prefix.tokens + len(suffix), self._decoding)
                yield _Row(prefix, suffix, seed)

    def _prefix(self, image: Image.Image) -> Prefix:
        key = picture_key(image)
        prefix = self._prefixes.get(key)
        if prefix is None:
            prefix = prefix_of(self.llava, self._before, image)
            self._prefixes.put(key, prefix)
        return prefix

    def _continued(self, rows: Sequence[_Row], decoding: Decoding) -> list[str]:
        """The rows' replies. Between what is cached and what follows lies padding that nobody attends to."""
        pad = self.llava.pad_token
        cached = max(row.prefix.tokens for row in rows)
        length = cached + max(len(row.suffix) for row in rows)
        tokens = torch.full((len(rows), length), pad)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for row, row_tokens, row_mask in zip(rows, tokens, mask, strict=True):
            row_tokens[length - len(row.suffix) :] = torch.tensor(row.suffix)
            row_mask[length - len(row.suffix) :] = 1
            row_mask[: row.prefix.tokens] = 1
        return self.llava.replies(
            decoding,
            [row.seed for row in rows],
            length,
            # The places of what is cached only count: `generate` reads on behind them.
            input_ids=to_device(tokens, self.llava.device),
            attention_mask=to_device(mask, self.llava.device),
            past_key_values=rows_of([row.prefix for row in rows]),
        )

    def _question(self, box: Box) -> Question:
        return self.llava.question(self._prompt, self._template, {"box": box_text(box)})

    def _shared_beginning(self) -> tuple[int, ...]:
        """The tokens before the picture. Raises ValueError where they tell the box."""
        whole = Box(x0=0, y0=0, x1=2, y1=2, width=2, height=2)
        beginnings = {self._question(box).before for box in (whole, whole.model_copy(update={"x1": 1.0}))}
        if len(beginnings) > 1:
            raise ValueError("`template`: found the text in front of the picture, expected the picture first")
        return beginnings.pop()
