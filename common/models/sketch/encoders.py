"""Encoders: how alike two pictures or two texts are."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.models.protocols import Embeddings
from common.models.sketch.base import SketchModel
from common.models.sketch.language import mentions_in, words_of
from common.models.sketch.vocabulary import KIND_WORDS

_SIDE = 24
_KNOT = 32
_KNOTS = 256 // _KNOT + 1
_IMAGE_LENGTH = _SIDE * _SIDE * 3 * _KNOTS

_CONCEPT_WEIGHT = 2.0
_KIND_WEIGHT = 1.2
_WORD_WEIGHT = 0.6
_TEXT_LENGTH = 256
_PLAIN_WORDS = frozenset("a an the of on in at and with to is are it this that its there by for from some".split())

Vector = npt.NDArray[np.float32]


class SketchImageEncoder(SketchModel):
    """Embeds a picture so that a cosine is about the share of the picture that kept its colour.

    The picture is scaled to 24 x 24. Each channel of each pixel becomes a vector of length 1 whose product with another
    is 1 for equal values and 0 for values some 32 levels apart or more: a change counts by the area that it covers and,
    beyond that, not by how strong it is.
    """

    role = "ImageEncoder"

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        self._wait()
        return _stacked([_image_vector(image) for image in images], _IMAGE_LENGTH)


class SketchTextEncoder(SketchModel):
    """Embeds a text as a bag of the objects, kinds and words in it, in falling weight; equal texts have cosine 1."""

    role = "TextEncoder"

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        self._wait()
        return _stacked([_text_vector(text) for text in texts], _TEXT_LENGTH)


def _stacked(rows: Sequence[Vector], length: int) -> Embeddings:
    return np.stack(rows) if rows else np.zeros((0, length), np.float32)


def _image_vector(image: Image.Image) -> Vector:
    pixels = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX))
    # Each channel's vector has length 1, so the length of all of them together is known.
    vector: Vector = _level_vectors()[pixels].ravel() / np.float32(np.sqrt(pixels.size))
    return vector


@cache
def _level_vectors() -> Vector:
    """For each of the 256 levels its place between the two nearest knots, as a vector of length 1."""
    levels = np.arange(256)
    share = (levels % _KNOT) / _KNOT
    vectors = np.zeros((256, _KNOTS))
    vectors[levels, levels // _KNOT] = 1 - share
    vectors[levels, levels // _KNOT + 1] = share
    normalised: Vector = (vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return normalised


def _text_vector(text: str) -> Vector:
    vector = np.zeros(_TEXT_LENGTH, np.float32)
    for token, weight in _tokens(text):
        vector += np.float32(weight) * _token_vector(token)
    length = np.float32(np.sqrt(vector @ vector))
    return vector / length if length else _token_vector("")


def _tokens(text: str) -> Iterator[tuple[str, float]]:
    mentions = mentions_in(text)
    for mention in mentions:
        yield f"concept {mention.concept.name}", _CONCEPT_WEIGHT
        yield f"kind {mention.concept.kind}", _KIND_WEIGHT
    for word in words_of(text):
        if word.text in KIND_WORDS:
            yield f"kind {KIND_WORDS[word.text]}", _CONCEPT_WEIGHT
        elif word.text not in _PLAIN_WORDS and not any(m.start <= word.start < m.end for m in mentions):
            yield f"word {word.text}", _WORD_WEIGHT


@lru_cache(maxsize=4096)
def _token_vector(token: str) -> Vector:
    """A vector of length 1 with signs from the token's digest: those of different tokens are nearly orthogonal."""
    bits = np.unpackbits(np.frombuffer(hashlib.sha256(token.encode()).digest(), np.uint8))
    signs: Vector = bits.astype(np.float32) * 2 - 1
    return signs / np.float32(np.sqrt(_TEXT_LENGTH))
