"""From bytes in the log to a task with its pictures."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from common.blobs import Blobs
from common.runtime.loading import SharedPictures
from common.runtime.stage import Picture
from common.settings import BlobSettings
from schemas.images import ImageRef
from schemas.invalid import InvalidReason, InvalidRecord


class CountingBlobs(Blobs):
    """Counts what is fetched and decoded."""

    def __init__(self, folder: Path) -> None:
        super().__init__(BlobSettings(url=str(folder)))
        self.initialise()
        self.fetched: Counter[str] = Counter()

    def picture(self, ref: ImageRef, *, decode: bool = True) -> Picture:
        self.fetched[ref.sha256] += 1
        return super().picture(ref, decode=decode)


@pytest.fixture
def blobs(tmp_path: Path) -> CountingBlobs:
    return CountingBlobs(tmp_path)


def stored(blobs: Blobs, grey: int) -> ImageRef:
    return blobs.put_image(Image.new("RGB", (8, 8), (grey, 0, 0)))


def test_a_picture_is_fetched_once_for_all_who_have_it(blobs: CountingBlobs) -> None:
    references = [stored(blobs, grey) for grey in range(4)]
    pictures = SharedPictures(blobs, decode=True)
    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(pictures.get, references * 25))
    assert set(blobs.fetched.values()) == {1}
    assert len({id(picture) for picture in held}) == 4


def test_a_picture_that_nobody_has_any_more_is_not_kept(blobs: CountingBlobs) -> None:
    reference = stored(blobs, 1)
    pictures = SharedPictures(blobs, decode=True)
    pictures.get(reference)
    pictures.get(reference)
    assert blobs.fetched[reference.sha256] == 2


def test_who_gives_another_size_for_the_same_picture_does_not_get_it(blobs: CountingBlobs) -> None:
    reference = stored(blobs, 1)
    pictures = SharedPictures(blobs, decode=True)
    held = pictures.get(reference)
    with pytest.raises(InvalidRecord) as raised:
        pictures.get(reference.model_copy(update={"width": 9}))
    assert raised.value.reason is InvalidReason.IMAGE_CORRUPT
    assert held.image.size == (8, 8)
