"""What the stages work on: caption pairs, pictures of flat patches, and boxes at fixed places."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from common.blobs import Blobs
from common.runtime.loading import SharedPictures
from common.runtime.stage import Task
from common.settings import BlobSettings
from schemas.boxes import DifferenceBox
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.geometry import Box
from schemas.images import ImageRef
from schemas.pairs import Pair
from schemas.record import Record
from schemas.region_captions import RegionCaption
from tests.tiny.pictures import patches
from workers.boxes.object_words import ObjectWords, object_words

BOXES = 10
"""Per picture for `boxes`, per pair for what follows."""

CAPTIONS = (
    ("A dog sits on a sofa.", "A cat sits on a sofa."),
    ("A dog and a cup on a sofa.", "A cat and a lamp on a sofa."),
)
"""In turn: one word of either caption is an object that changed, and two are."""

DESCRIPTIONS = ("a brown dog on a red sofa", "a grey cat on a red sofa")

_COLUMNS, _CELL, _OFFSET = 5, 6, 40


@dataclass(frozen=True)
class Sample:
    """One caption with everything that the chain may have made of it. `paths` are the pair as JPEG files."""

    number: int
    caption: str
    edited_caption: str
    paths: tuple[Path, Path]
    references: tuple[ImageRef, ImageRef]
    boxes: tuple[Sequence[Box], Sequence[Box]]
    """Found in the first and in the second picture; no two are at one place."""

    @property
    def words(self) -> ObjectWords:
        return object_words(self.caption, self.edited_caption)

    @property
    def record(self) -> Caption:
        name = f"bench:#{self.number}"
        return Caption(id=name, caption_id=name, caption=self.caption, source="bench", position=self.number)

    @property
    def edit(self) -> Edit:
        return self.record.derive(Edit, 0, edited_caption=self.edited_caption)

    @property
    def pair(self) -> Pair:
        first, second = self.references
        return self.edit.derive(Pair, 0, first=first, second=second)

    @property
    def regions(self) -> list[DifferenceBox]:
        """One per box of the first picture."""
        words = self.words
        return [
            self.pair.derive(
                DifferenceBox,
                rank,
                box=box,
                found_in="first",
                first_objects=words.first,
                second_objects=words.second,
            )
            for rank, box in enumerate(self.boxes[0])
        ]

    @property
    def described(self) -> list[RegionCaption]:
        """The same with descriptions."""
        first, second = DESCRIPTIONS
        return [
            region.derive(RegionCaption, 0, first_description=first, second_description=second)
            for region in self.regions
        ]


class Material:
    """Makes samples, and loads their pictures as a worker does."""

    def __init__(self, folder: Path, side: int) -> None:
        """`folder` takes the object store and the JPEG files, `side` is that of the pictures in pixels."""
        self.results = folder / "blobs"
        self._files = folder / "files"
        self._files.mkdir(parents=True)
        self._side = side
        self.storing_s = 0.0
        self.blobs = Blobs(BlobSettings(url=str(self.results)))
        self.blobs.initialise()

    def samples(self, start: int, count: int) -> list[Sample]:
        """The samples from a number on: others have other pictures, so that nothing is known of them."""
        return [self._sample(number) for number in range(start, start + count)]

    def tasks(self, records: Sequence[Record]) -> list[Task[Record]]:
        """The records with their pictures, each fetched and decoded once for all that refer to it."""
        pictures = SharedPictures(self.blobs, decode=True)
        return [
            Task(record, {name: pictures.get(reference) for name, reference in record.images().items()})
            for record in records
        ]

    def store(self, images: Mapping[str, Image.Image]) -> None:
        """What a stage emitted."""
        with self.storing():
            for image in images.values():
                self.blobs.put_image(image)

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Adds what the block takes to `storing_s`."""
        started = time.perf_counter()
        yield
        self.storing_s += time.perf_counter() - started

    def _sample(self, number: int) -> Sample:
        pictures = [patches(2 * number + place, (self._side, self._side)) for place in range(2)]
        paths = [self._files / f"{number}-{place}.jpg" for place in range(2)]
        for picture, path in zip(pictures, paths, strict=True):
            picture.save(path, quality=95)
        first, second = (self.blobs.put_image(picture) for picture in pictures)
        caption, edited = CAPTIONS[number % len(CAPTIONS)]
        return Sample(
            number, caption, edited, (paths[0], paths[1]), (first, second), (self._boxes(0), self._boxes(self._shift))
        )

    @property
    def _shift(self) -> float:
        """What moves the second picture's boxes to places of their own."""
        return self._side / _OFFSET + 1

    def _boxes(self, shift: float) -> list[Box]:
        cell = self._side / _CELL
        return [
            Box(
                x0=place % _COLUMNS * cell + shift,
                y0=place // _COLUMNS * 2 * cell + shift,
                x1=(place % _COLUMNS + 1) * cell + shift,
                y1=(place // _COLUMNS * 2 + 1) * cell + shift,
                width=self._side,
                height=self._side,
            )
            for place in range(BOXES)
        ]
