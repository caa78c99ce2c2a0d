"""From bytes in the log to a task with its pictures."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from common.blobs import Blobs
from common.health import Health
from common.kafka import ConsumedRecord, Partition
from common.metrics import WorkerMetrics
from common.runtime.errors import ConfigurationError
from common.runtime.flight import Failed, Fetched, Loaded
from common.runtime.loading import Loader, SharedPictures
from common.runtime.memory import MEMORY_TRIES
from common.runtime.retry import Retry
from common.runtime.stage import Picture, Task
from common.settings import BlobSettings, RuntimeSettings
from schemas import codec, headers
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.images import ImageRef
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.pairs import Pair
from tests.schemas.samples import PAIR


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


class FailingBlobs(Blobs):
    """Reads no picture: it raises what it is given, so often as it is given, and then has one."""

    def __init__(self, folder: Path, *errors: Exception) -> None:
        super().__init__(BlobSettings(url=str(folder)))
        self._errors = list(errors)

    def picture(self, ref: ImageRef, *, decode: bool = True) -> Picture:
        if self._errors:
            raise self._errors.pop(0)
        return Picture(b"")


def loaded(blobs: Blobs) -> Loaded:
    settings = RuntimeSettings(retry_first_s=0.01, retry_max_s=0.02)
    retry = Retry(settings, Health(), WorkerMetrics("boxes", "0", "test"))
    loader = Loader(Pair, blobs, retry, decode_images=True)
    schema = ((headers.SCHEMA, Pair.schema_name().encode()),)
    record = ConsumedRecord(Partition("pairs", 0), 7, None, codec.encode(PAIR), schema, 0.0)
    return loader.load(Fetched(record, 1), lambda: True)


def test_whatever_goes_wrong_in_loading_is_the_records_own(tmp_path: Path) -> None:
    content = loaded(FailingBlobs(tmp_path, RecursionError("too deep"))).content
    assert isinstance(content, Failed)
    assert (content.kind, content.reason) == (DeadLetterKind.POISON, PoisonReason.EXCEPTION)
    assert content.error is not None
    assert content.error.message == "too deep"


def test_a_store_that_refuses_us_is_no_fault_of_a_record(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        loaded(FailingBlobs(tmp_path, ConfigurationError("setting `blobs.url`: refused")))


def test_memory_that_is_short_is_waited_for(tmp_path: Path) -> None:
    short = [MemoryError() for _ in range(MEMORY_TRIES - 1)]
    assert isinstance(loaded(FailingBlobs(tmp_path, *short)).content, Task)
    with pytest.raises(MemoryError):
        loaded(FailingBlobs(tmp_path, *short, MemoryError()))
