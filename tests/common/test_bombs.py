"""Small inputs that want to become large ones: each is refused for little memory, before anything is decoded."""

import io
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import msgpack
import pytest
from PIL import Image, PngImagePlugin

from common.blobs import Blobs
from common.settings import BlobSettings
from schemas import codec
from schemas.counters import OffsetMetadata
from schemas.images import ImageRef
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.pairs import Pair
from tests.schemas.samples import PAIR

MIB = 1024 * 1024
FIELDS = msgpack.unpackb(codec.encode(PAIR))


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    store = Blobs(BlobSettings(url=str(tmp_path / "store"), max_pixels=10_000, max_bytes=MIB))
    store.initialise()
    return store


def refusal(blobs: Blobs, data: bytes, width: int, height: int) -> InvalidReason:
    """The reason; fails where reading takes more than a few MiB."""
    reference = ImageRef(sha256=blobs.put(data), width=width, height=height, byte_size=len(data))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRecord) as raised:
            blobs.picture(reference)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    return raised.value.reason


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def encoded(kind: str, size: tuple[int, int], **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height"),
    [(101, 100), (65_536, 1), (60_000, 60_000), (65_536, 65_536)],
)
def test_a_picture_of_too_many_pixels_is_told_by_its_header(blobs: Blobs, width: int, height: int) -> None:
    pixels = zlib.compress(bytes(MIB), 9)
    assert refusal(blobs, png(width, height, pixels=pixels), width, height) is InvalidReason.IMAGE_TOO_LARGE


def test_the_other_formats_are_told_by_their_headers_too(blobs: Blobs) -> None:
    for kind in ("JPEG", "WEBP"):
        data = encoded(kind, (200, 100))
        assert refusal(blobs, data, 200, 100) is InvalidReason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_beside_the_pixels_is_not_unpacked_without_bound(blobs: Blobs, name: bytes) -> None:
    bomb = zlib.compress(bytes(32 * MIB), 1)
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\x01\0\0\0", b"iCCP": b"k\0\0"}[name]
    data = png(8, 8, chunk(name, head + bomb), pixels=zlib.compress(bytes(8 * 25)))
    reference = ImageRef(sha256=blobs.put(data), width=8, height=8, byte_size=len(data))
    tracemalloc.start()
    try:
        with suppress(InvalidRecord):  # either is fine, but not the memory
            assert blobs.picture(reference).image.size == (8, 8)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_of_an_animation_only_the_first_picture_is_decoded(blobs: Blobs) -> None:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in range(200)]
    for kind in ("PNG", "WEBP"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], lossless=True)
        data = buffer.getvalue()
        picture = blobs.picture(ImageRef(sha256=blobs.put(data), width=64, height=64, byte_size=len(data)))
        assert picture.image.getpixel((0, 0))[0] == 0  # type: ignore[index]


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "ICO", "PPM", "PDF", "EPS", "TGA"])
def test_no_other_decoder_runs_on_bytes_from_outside(blobs: Blobs, kind: str) -> None:
    data = encoded(kind, (16, 16))
    assert refusal(blobs, data, 16, 16) is InvalidReason.IMAGE_UNREADABLE


def test_a_picture_that_two_decoders_take_for_theirs_goes_to_one_of_ours(blobs: Blobs) -> None:
    """Pillow asks that of Photo CDs, which looks 2,048 bytes further on, before that of WebP."""
    data = encoded("WEBP", (16, 16)).ljust(2_048, b"\0") + b"PCD_" + bytes(400_000)
    picture = blobs.picture(ImageRef(sha256=blobs.put(data), width=16, height=16, byte_size=len(data)))
    assert picture.image.size == (16, 16)


def test_a_picture_that_ends_too_early_is_unreadable(blobs: Blobs) -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, kind)
        data = buffer.getvalue()
        for kept in (10, len(data) // 4, len(data) // 2):
            assert refusal(blobs, data[:kept], 64, 64) is InvalidReason.IMAGE_UNREADABLE


def test_pillows_own_limits_on_text_are_what_they_were() -> None:
    """The test above holds only with them."""
    assert PngImagePlugin.MAX_TEXT_CHUNK <= MIB


BOMBS = {
    "an array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "a text of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "an extension of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "an extension": msgpack.packb(FIELDS | {"caption": msgpack.ExtType(1, b"x")}),
    "a time": msgpack.packb(FIELDS | {"caption": msgpack.Timestamp(1)}),
    "a million arrays in one another": b"\x91" * 1_000_000,
    "maps in one another": b"\x81\xa1k" * 1_000_000,
    "a thousand arrays of a thousand": b"\xdc\x40\x00" + (b"\xdc\x40\x00" + b"\xc0" * 0x4000) * 250,
    "an array that is too long": msgpack.packb(FIELDS | {"trail": [None] * (codec.MAX_ARRAY_LENGTH + 1)}),
    "a text that is too long": msgpack.packb(FIELDS | {"caption": "a" * (codec.MAX_STRING_BYTES + 1)}),
    "truth 400 deep": None,
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_record_that_unpacks_to_more_than_it_is_refused(what: str) -> None:
    value = BOMBS[what]
    if value is None:
        deep: object = 1
        for _ in range(400):
            deep = [deep]
        step = FIELDS["trail"][0] | {"truth": deep}
        value = msgpack.packb(FIELDS | {"trail": [step]})
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRecord) as raised:
            codec.decode(Pair, value, "pairs/1")
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
    assert raised.value.reason in {InvalidReason.UNDECODABLE, InvalidReason.SCHEMA_BROKEN}
    assert len(raised.value.detail) < 1_000, "what a dead letter says of it is bounded too"


def test_offset_metadata_of_somebody_else_is_told_as_such() -> None:
    for text in ("[" * 4_000, '{"a":' * 800, "x" * 4_000):
        with pytest.raises(ValueError, match="not a worker's counters"):
            OffsetMetadata.decode(text)
