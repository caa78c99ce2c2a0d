"""Models whose answers a test writes down, and the pictures and records that they are asked about.

A fake looks at a picture's top left pixel only. So a test paints each picture, and each thing in it, in a colour of its
own, and says what the model answers for that colour.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from math import sqrt

import numpy as np
from PIL import Image

from common.models.protocols import (
    Description,
    DifferenceRequest,
    DrawnPair,
    EditReply,
    EditRequest,
    Embeddings,
    ItcCosine,
    MatchScale,
    MatchScore,
    PairRequest,
    RegionRequest,
)
from common.runtime.stage import Picture
from schemas.boxes import DifferenceBox
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.geometry import Box
from schemas.images import ImageRef
from schemas.pairs import Pair
from schemas.region_captions import RegionCaption
from schemas.scores import Bounds
from schemas.trail import ModelId

Colour = tuple[int, int, int]

WIDTH, HEIGHT = 60, 40


def colour_of(image: Image.Image) -> Colour:
    red, green, blue = np.asarray(image)[0, 0]
    return int(red), int(green), int(blue)


def colour(number: int) -> Colour:
    """The `number`-th colour of as many as one likes."""
    return number // 65_536 % 256, number // 256 % 256, number % 256


def painted(
    background: Colour, things: Mapping[Box, Colour] | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Image.Image:
    image = Image.new("RGB", size, background)
    for box, paint in (things or {}).items():
        image.paste(paint, (int(box.x0), int(box.y0), int(box.x1), int(box.y1)))
    return image


def box(x0: float, y0: float, x1: float, y1: float) -> Box:
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, width=WIDTH, height=HEIGHT)


def picture(image: Image.Image) -> Picture:
    data = BytesIO()
    image.save(data, "PNG")
    return Picture(data.getvalue())


def image_ref(name: str) -> ImageRef:
    return ImageRef(sha256=name.encode().hex().ljust(64, "0")[:64], width=WIDTH, height=HEIGHT, byte_size=1)


def step(value: float, count: int) -> float:
    """The float32 that lies `count` float32 steps above (below, where negative) that of `value`."""
    result = np.float32(value)
    for _ in range(abs(count)):
        result = np.nextafter(result, np.float32(np.inf if count > 0 else -np.inf))
    return float(result)


def around(bounds: Bounds) -> list[tuple[float, bool]]:
    """Values at each bound and one float32 step to each side of it, with whether they pass."""
    cases: list[tuple[float, bool]] = []
    if bounds.low is not None:
        cases += [(step(bounds.low, -1), False), (bounds.low, bounds.low_inclusive), (step(bounds.low, 1), True)]
    if bounds.high is not None:
        cases += [(step(bounds.high, -1), True), (bounds.high, bounds.high_inclusive), (step(bounds.high, 1), False)]
    return cases


def caption_record(text: str = "A dog sits on a sofa.", number: int = 0) -> Caption:
    return Caption(id=f"test:#{number}", caption_id=f"test:#{number}", caption=text, source="test", position=number)


def edit_record(edited: str = "A cat sits on a sofa.", number: int = 0) -> Edit:
    return caption_record(number=number).derive(Edit, 0, edited_caption=edited)


def pair_record(edited: str = "A cat sits on a sofa.", number: int = 0) -> Pair:
    return edit_record(edited, number).derive(
        Pair, 0, first=image_ref(f"{number}-first"), second=image_ref(f"{number}-second")
    )


def box_record(where: Box, number: int = 0, index: int = 0) -> DifferenceBox:
    return pair_record(number=number).derive(
        DifferenceBox, index, box=where, found_in="first", first_objects=("dog",), second_objects=("cat",)
    )


def region_record(where: Box, number: int = 0, index: int = 0) -> RegionCaption:
    return box_record(where, number, index).derive(
        RegionCaption, 0, first_description="a brown dog", second_description="a grey cat"
    )


def unit(cosines: Iterable[float]) -> Embeddings:
    """Rows whose cosine with (1, 0) is as given."""
    rows = [(c, sqrt(max(0.0, 1.0 - c * c))) for c in cosines]
    return np.asarray(rows, dtype=np.float32).reshape(-1, 2)


class Fake:
    """Counts how often it is called, and with how many items."""

    role = "Fake"

    def __init__(self) -> None:
        self.identity = ModelId(role=self.role, id="fake", revision="1")
        self.calls: list[int] = []


class FakeEditor(Fake):
    role = "CaptionEditor"

    def __init__(self, reply: Callable[[EditRequest], str | None]) -> None:
        super().__init__()
        self._reply = reply

    def edit(self, requests: Sequence[EditRequest]) -> list[EditReply | None]:
        self.calls.append(len(requests))
        texts = [(request, self._reply(request)) for request in requests]
        return [None if text is None else EditReply(text, {"seed": request.seed}) for request, text in texts]


class FakeGenerator(Fake):
    role = "PairGenerator"

    def __init__(self, draw: Callable[[PairRequest], tuple[Image.Image, Image.Image]]) -> None:
        super().__init__()
        self._draw = draw

    def draw(self, requests: Sequence[PairRequest]) -> list[DrawnPair]:
        self.calls.append(len(requests))
        return [DrawnPair(*self._draw(request), truth={"seed": request.seed}) for request in requests]


class FakeImageEncoder(Fake):
    """By colour the cosine with (1, 0); other colours are (1, 0) themselves."""

    role = "ImageEncoder"

    def __init__(self, cosines: Mapping[Colour, float] | None = None) -> None:
        super().__init__()
        self._cosines = {} if cosines is None else cosines

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        self.calls.append(len(images))
        return unit(self._cosines.get(colour_of(image), 1.0) for image in images)


class FakeTextEncoder(Fake):
    """By text the cosine with (1, 0); other texts are (1, 0) themselves."""

    role = "TextEncoder"

    def __init__(self, cosines: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self._cosines = {} if cosines is None else cosines

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        self.calls.append(len(texts))
        return unit(self._cosines.get(text, 1.0) for text in texts)


class FakeSegmenter(Fake):
    """By the colour of a picture its segments."""

    role = "Segmenter"

    def __init__(self, segments: Mapping[Colour, Sequence[Box]] | None = None) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []
        self._segments = {} if segments is None else segments

    def segment(self, images: Sequence[Image.Image]) -> list[Sequence[Box]]:
        self.calls.append(len(images))
        self.sizes += [image.size for image in images]
        return [self._segments.get(colour_of(image), ()) for image in images]


class FakeMatcher(Fake):
    """By colour and text the score; 0 for anything else."""

    role = "ImageTextMatcher"

    def __init__(
        self, scores: Mapping[tuple[Colour, str], float] | None = None, scale: MatchScale = MatchScale.ITC_COSINE
    ) -> None:
        super().__init__()
        self.scale = scale
        self.asked: list[tuple[Colour, tuple[str, ...]]] = []
        self._scores = {} if scores is None else scores

    def match(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[MatchScore]]:
        self.calls.append(len(images))
        self.asked += [(colour_of(image), tuple(own)) for image, own in zip(images, texts, strict=True)]
        return [
            [ItcCosine(self._scores.get((colour_of(image), text), 0.0)) for text in own]
            for image, own in zip(images, texts, strict=True)
        ]


class FakeRegionDescriber(Fake):
    """By the colour at a box's top left corner what it says; else it names the colour."""

    role = "RegionDescriber"

    def __init__(self, texts: Mapping[Colour, str] | None = None) -> None:
        super().__init__()
        self.requests: list[RegionRequest] = []
        self._texts = {} if texts is None else texts

    def describe_regions(self, requests: Sequence[RegionRequest]) -> list[list[Description]]:
        self.calls.append(len(requests))
        self.requests += requests
        return [[self._describe(request.image, where) for where in request.boxes] for request in requests]

    def _describe(self, image: Image.Image, where: Box) -> Description:
        seen = colour_of(image.crop((int(where.x0), int(where.y0), int(where.x1), int(where.y1))))
        return Description(self._texts.get(seen, f"a thing in colour {seen}"), {"colour": list(seen)})


class FakeDifferenceDescriber(Fake):
    role = "DifferenceDescriber"

    def __init__(self, text: str | None = None) -> None:
        super().__init__()
        self.requests: list[DifferenceRequest] = []
        self._text = text

    def describe_differences(self, requests: Sequence[DifferenceRequest]) -> list[Description]:
        self.calls.append(len(requests))
        self.requests += requests
        return [
            Description(f"{request.first_description} became {request.second_description}")
            if self._text is None
            else Description(self._text)
            for request in requests
        ]
