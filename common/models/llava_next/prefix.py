"""The beginning of a conversation, up to the end of its picture, as keys and values: what all boxes of a picture share."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from transformers import DynamicCache

from common.models.llava_next.model import LlavaNext
from common.runtime.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Prefix:
    """Per layer keys and values, each of shape (1, heads, tokens, head size)."""

    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]

    @property
    def tokens(self) -> int:
        return self.keys[0].shape[-2]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(each.nbytes for each in (*self.keys, *self.values))


def prefix_of(llava: LlavaNext, before: Sequence[int], image: Image.Image) -> Prefix:
    """Encodes the picture once and reads it once."""
    features = llava.picture_features(image)
    embeddings = llava.embedded([*before, *[llava.image_token] * len(features)], features)
    cache = DynamicCache(config=llava.model.config.text_config)
    llava.model.model.language_model(inputs_embeds=embeddings[None], past_key_values=cache, use_cache=True)
    return Prefix([layer.keys for layer in cache.layers], [layer.values for layer in cache.layers])


def check_shareable(llava: LlavaNext, weights_id: str) -> None:
    """Raises ConfigurationError where a layer forgets the beginning of a long text: it can not be continued from there."""
    cache = DynamicCache(config=llava.model.config.text_config)
    if any(cache.is_sliding):
        raise ConfigurationError(
            f"weights of {weights_id}: found attention over a sliding window, expected attention over the whole text"
        )


def rows_of(prefixes: Sequence[Prefix]) -> DynamicCache:
    """A cache with a row per prefix, each padded behind to the longest; what is padded has to be masked.

    The prefixes themselves stay as they are.
    """
    tokens = max(prefix.tokens for prefix in prefixes)
    layers = range(len(prefixes[0].keys))
    return DynamicCache(
        (_stacked([p.keys[layer] for p in prefixes], tokens), _stacked([p.values[layer] for p in prefixes], tokens))
        for layer in layers
    )


def _stacked(rows: Sequence[torch.Tensor], tokens: int) -> torch.Tensor:
    return torch.cat([torch.nn.functional.pad(row, (0, 0, 0, tokens - row.shape[-2])) for row in rows])


class PrefixCache:
    """Prefixes by picture, at most `limit` bytes of them; what was asked for longest ago goes first.

    It serves boxes of a picture that a batch's end has cut off from the others.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._prefixes: OrderedDict[bytes, Prefix] = OrderedDict()

    def get(self, key: bytes) -> Prefix | None:
        prefix = self._prefixes.get(key)
        if prefix is not None:
            self._prefixes.move_to_end(key)
        return prefix

    def put(self, key: bytes, prefix: Prefix) -> None:
        """Keeps the prefix, unless it is larger than all that may be kept."""
        if prefix.size > self._limit:
            return
        self._prefixes[key] = prefix
        self._size += prefix.size
        while self._size > self._limit:
            _, dropped = self._prefixes.popitem(last=False)
            self._size -= dropped.size

    def clear(self) -> None:
        self._prefixes.clear()
        self._size = 0


def picture_key(image: Image.Image) -> bytes:
    """Equal for pictures of equal size and pixels."""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).digest()
