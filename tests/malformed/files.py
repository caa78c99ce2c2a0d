"""What lies in files: pictures, captions to ingest, shards of a dataset, and lock files."""

import io
import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from common.blobs import Blobs, picture_path
from common.models.lock import Lock, LockedFile, LockedModel, read_lock
from common.runtime.errors import ConfigurationError, TransientError
from common.settings import BlobSettings
from ops.dataset.statistics import SampleCounter
from ops.ingest.items import AnyItem, BadItem, Blank, Item
from ops.ingest.readers import Format, Reader, Reading, StandardInputReader, WrongFileError, open_file
from schemas.images import ImageRef
from schemas.invalid import InvalidRecord
from tests.malformed.areas import Area, Case, one_line
from tests.malformed.mutation import as_json, broken_bytes, broken_value
from workers.dataset.shards import DATA, ShardStore

SIZE = (48, 32)
SHARD = "part-00003-00000000000000000017-00000000000000000020.parquet"


def drawn(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """A real picture of the size SIZE, encoded."""
    image = Image.radial_gradient("L").resize(SIZE).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures(folder: Path, _: ExitStack) -> Case:
    """Stored bytes under their own digest: a picture that decodes, or InvalidRecord."""
    blobs = Blobs(BlobSettings(url=str(folder / "blobs"), max_pixels=100_000, max_bytes=100_000))
    blobs.initialise()
    good = [
        drawn("PNG"), drawn("PNG", "P"), drawn("PNG", "RGBA"), drawn("PNG", "1"),
        drawn("JPEG"), drawn("JPEG", progressive=True), drawn("WEBP"), drawn("WEBP", lossless=True), drawn("GIF"),
        drawn("TIFF"), drawn("BMP"),
    ]  # fmt: skip

    def case(random: Random) -> None:
        data = broken_bytes(random, random.choice(good), good)
        digest = sha256(data).hexdigest()
        path = folder / "blobs" / picture_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if random.random() < 0.9 else broken_bytes(random, data))
        width, height = random.choice((SIZE, SIZE, SIZE, (1, 1), (65_536, 65_536)))
        reference = ImageRef(sha256=digest, width=width, height=height, byte_size=random.choice((1, len(data) or 1)))
        try:
            picture = blobs.picture(reference)
        except InvalidRecord as invalid:
            one_line(invalid.detail)
        else:
            assert picture.image.size == (width, height)
        path.unlink()

    return case


CAPTIONS = [{"id": number, "caption": f"A dog on bench {number}.", "image_id": 7} for number in range(4)]


def _parquet(folder: Path) -> bytes:
    pq.write_table(
        pa.table({"caption": [each["caption"] for each in CAPTIONS], "id": [each["id"] for each in CAPTIONS]}),
        folder / "good.parquet",
    )
    return (folder / "good.parquet").read_bytes()


def captions(folder: Path, _: ExitStack) -> Case:
    """Files to ingest, in every format: items and bad items, or WrongFileError."""
    lines = "\n".join(map(json.dumps, CAPTIONS)).encode()
    good: Mapping[Format, bytes] = {
        Format.TEXT: "\n".join(str(each["caption"]) for each in CAPTIONS).encode(),
        Format.JSON_LINES: lines,
        Format.COCO: json.dumps({"info": {"year": 2014}, "annotations": CAPTIONS, "images": []}).encode(),
        Format.PARQUET: _parquet(folder),
    }

    def case(random: Random) -> None:
        kind = random.choice(list(Format))
        data = broken_bytes(random, good[kind], list(good.values()))
        if kind is Format.JSON_LINES and random.random() < 0.4:
            data = "\n".join(as_json(broken_value(random, each)) for each in CAPTIONS).encode()
        if kind is Format.COCO and random.random() < 0.4:
            data = as_json(broken_value(random, json.loads(good[kind]))).encode()
        path = folder / "captions"
        path.write_bytes(data)
        reading = Reading(format=kind, caption_field=random.choice((None, None, "id")))
        _read(lambda: open_file(path, reading), random.choice((0, 0, 2)))

    return case


def standard_input(folder: Path, _: ExitStack) -> Case:
    """A pipe whose format has to be guessed: items and bad items."""
    texts = (b"A dog on a bench.\nA cat.\n", "\n".join(map(json.dumps, CAPTIONS)).encode())

    def case(random: Random) -> None:
        (folder / "input").write_bytes(broken_bytes(random, random.choice(texts), texts))
        descriptor = os.open(folder / "input", os.O_RDONLY)
        try:
            _read(lambda: StandardInputReader(descriptor, Reading()), 0)
        finally:
            os.close(descriptor)

    return case


def shards(folder: Path, _: ExitStack) -> Case:
    """Shards of a dataset as `imgdiff status` counts them: a number, or ConfigurationError that names the shard."""
    store = ShardStore(str(folder), {})
    store.initialise()
    good = _parquet(folder)

    def case(random: Random) -> None:
        (folder / DATA / SHARD).write_bytes(broken_bytes(random, good))
        try:
            assert SampleCounter(str(folder), {})() >= 0
        except (ConfigurationError, TransientError) as error:
            one_line(str(error))

    return case


def locks(folder: Path, _: ExitStack) -> Case:
    """The lock file of the models' weights: a lock, or ConfigurationError that names the file."""
    model = LockedModel(
        origin="https://huggingface.co/a/b", requested="main", revision="0" * 40,
        files={"model/one.safetensors": LockedFile(size=17, sha256="0" * 64)},
    )  # fmt: skip
    good = Lock().having("a/b", model).model_dump_json().encode()
    path = folder / "weights.lock.json"

    def case(random: Random) -> None:
        data = broken_bytes(random, good)
        if random.random() < 0.5:
            data = as_json(broken_value(random, json.loads(good))).encode()
        path.write_bytes(data)
        said = str(path)
        try:
            read_lock(path)
        except ConfigurationError as error:
            said = str(error)
        one_line(said)
        assert str(path) in said

    return case


def _read(opened: Callable[[], Reader], start: int) -> None:
    try:
        for item in opened().items(start):
            _check(item)
    except WrongFileError as error:
        one_line(str(error))


def _check(item: AnyItem | Blank | None) -> None:
    if isinstance(item, BadItem):
        one_line(item.detail)
    elif isinstance(item, Item):
        assert item.caption.strip()
        assert item.caption.encode()


AREAS = (
    Area("pictures", 1_200, pictures),
    Area("captions", 1_200, captions),
    Area("standard input", 400, standard_input),
    Area("shards", 300, shards),
    Area("lock file", 400, locks),
)
