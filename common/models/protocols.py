"""What a stage asks of a model. Batch in, batch out; every implementation is seeded and free of side effects.

Pictures are `PIL.Image.Image` in mode RGB. Arrays are float32 numpy arrays. Each model says who it is in `identity`.
A model that can not be reached raises `common.runtime.errors.TransientError`; nothing else is ever retried in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.geometry import Box
from schemas.trail import ModelId

Embeddings = npt.NDArray[np.float32]
"""Shape (n, d), rows of length 1: the inner product of two rows is their cosine, in [-1, 1]."""

ItcCosine = NewType("ItcCosine", float)
"""BLIP's image-text contrastive score: a cosine in [-1, 1]. Not comparable with an ItmProbability."""

ItmProbability = NewType("ItmProbability", float)
"""BLIP's image-text matching head: a probability in [0, 1]. Not comparable with an ItcCosine."""

MatchScore = ItcCosine | ItmProbability


@runtime_checkable
class WarmsUp(Protocol):
    """A model whose first call is slow: it is warmed up before the worker joins its group."""

    identity: ModelId

    def warm_up(self) -> None:
        """Compile, allocate and find batch shapes. Called once, before the first batch."""
        ...


@dataclass(frozen=True, slots=True)
class EditRequest:
    """A caption to edit; equal seeds give equal replies."""

    caption: str
    seed: int


@dataclass(frozen=True, slots=True)
class EditReply:
    """What the model said, as it said it: the stage cleans and checks it. `truth` as in TrailStep.

    `complete` is false where the model did not end by itself, mostly at the most tokens that a reply may have.
    """

    text: str
    truth: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True


class CaptionEditor(Protocol):
    """Replaces one object of a caption by another."""

    identity: ModelId

    def edit(self, requests: Sequence[EditRequest]) -> Sequence[EditReply | None]:
        """One reply per request, in order; None where the model says that there is nothing it can replace."""
        ...


@dataclass(frozen=True, slots=True)
class PairRequest:
    """Two captions to draw from one latent; equal seeds give equal pictures."""

    caption: str
    edited_caption: str
    seed: int


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """Two pictures of equal size, RGB. `truth` as in TrailStep."""

    first: Image.Image
    second: Image.Image
    truth: Mapping[str, Any] = field(default_factory=dict)


class PairGenerator(Protocol):
    """Draws an image pair that differs in what the captions differ in."""

    identity: ModelId

    def draw(self, requests: Sequence[PairRequest]) -> Sequence[DrawnPair]:
        """One pair per request, in order."""
        ...


class ImageEncoder(Protocol):
    """Embeds pictures; crops of any size above 0 pixels are allowed."""

    identity: ModelId

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """Shape (len(images), d), rows normalised."""
        ...


class TextEncoder(Protocol):
    """Embeds texts."""

    identity: ModelId

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Shape (len(texts), d), rows normalised."""
        ...


class Segmenter(Protocol):
    """Finds the things in a picture, whatever they are."""

    identity: ModelId

    def segment(self, images: Sequence[Image.Image]) -> Sequence[Sequence[Box]]:
        """For each picture the boxes of its segments, in the model's order; each lies inside its picture."""
        ...


class MatchScale(StrEnum):
    """On which scale an ImageTextMatcher scores."""

    ITC_COSINE = "itc_cosine"
    ITM_PROBABILITY = "itm_probability"


class ImageTextMatcher(Protocol):
    """Says how well texts describe a picture. `scale` says on which scale its scores are."""

    identity: ModelId
    scale: MatchScale

    def match(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> Sequence[Sequence[MatchScore]]:
        """For picture i a score per text in `texts[i]`, in order. Each picture is encoded once for all its texts."""
        ...


@dataclass(frozen=True, slots=True)
class RegionRequest:
    """Boxes of one picture to describe, in pixels of that picture, with one seed per box."""

    image: Image.Image
    boxes: Sequence[Box]
    seeds: Sequence[int]


@dataclass(frozen=True, slots=True)
class Description:
    """What a model said about a picture. `truth` as in TrailStep."""

    text: str
    truth: Mapping[str, Any] = field(default_factory=dict)


class RegionDescriber(Protocol):
    """Describes regions of a picture."""

    identity: ModelId

    def describe_regions(self, requests: Sequence[RegionRequest]) -> Sequence[Sequence[Description]]:
        """For each request a description per box, in order. Each picture is encoded once for all its boxes."""
        ...


@dataclass(frozen=True, slots=True)
class DifferenceRequest:
    """Two pictures with the region marked in a red box, and what is in the region in each.

    `composite` is both side by side (papers.md 1.7); a model takes what suits it.
    """

    first: Image.Image
    second: Image.Image
    composite: Image.Image
    first_description: str
    second_description: str
    seed: int


class DifferenceDescriber(Protocol):
    """Says in a few sentences what differs inside the red boxes."""

    identity: ModelId

    def describe_differences(self, requests: Sequence[DifferenceRequest]) -> Sequence[Description]:
        """One description per request, in order."""
        ...


class NaturalnessJudge(Protocol):
    """Says whether what two pictures show is reasonable (papers.md 1.8)."""

    identity: ModelId

    def judge(self, composites: Sequence[Image.Image]) -> Sequence[float]:
        """For each composite of two pictures how much speaks for "yes, natural", in [0, 1]. Raises an error where the
        model's reply is no verdict."""
        ...
