"""The object store of pictures: content-addressed, so that a redo writes nothing twice and overwrites nothing.

    <url>/imgdiff-blobs           the sentinel: this is the store, and it can be reached
    <url>/images/ab/cd/<sha256>   a picture's encoded bytes, under their SHA-256
    <url>/sweeping/ab/<token>     somebody is deleting pictures below images/ab that nobody needs
    <url>/streams/<cluster>@<prefix>   records of this stream of this Kafka cluster refer to pictures here

The sentinel tells a picture that is missing from a store that is: only where the sentinel reads is the record at fault.
It is written by `initialise` alone. A worker that found an empty mount point and wrote it anew would turn an outage into
missing pictures for every record.

A picture may be stored again while a sweep that takes it for old and unused is about to delete it. So whoever finds a
picture there already makes it young, and then looks whether a sweep is at work: if so, it waits and looks again. A sweep
says that it is at work before it looks at a picture's age. Whichever of the two comes first, the other sees it.
"""

import hashlib
import re
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath

from PIL import Image

from common.runtime.errors import ConfigurationError, TransientError
from common.runtime.stage import FORMATS, Picture
from common.settings import BlobSettings
from common.storage import Storage
from schemas.images import ImageRef
from schemas.invalid import InvalidReason, InvalidRecord

SENTINEL = "imgdiff-blobs"
SENTINEL_CONTENT = b"Pictures of imgdiff, layout 1. Without this file the store counts as out of reach.\n"
NOTE = b"Records of this stream refer to pictures here. Delete this file when the stream is gone for good.\n"
IMAGES = "images"
SWEEPING = "sweeping"
STREAMS = "streams"

RENEWED_AFTER_S = 3_600.0
"""A picture that is stored again when it is older than this is written again, and so as young as its new record. A sweep has
to leave everything alone that is not much older."""

SWEEP_LEASE_S = 900.0
"""How long after its last sign of life a sweep counts as at work. It has to give another in time, or to delete no more."""

PNG_COMPRESSION = 1
"""zlib level. On noisy pictures the default of 6 saves less than a fifth of the bytes for up to four times the time."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class NotedStream:
    """A stream that stores pictures: the id of its Kafka cluster, and its prefix."""

    cluster: str
    prefix: str

    @property
    def path(self) -> str:
        """Of its note, below the store."""
        return f"{STREAMS}/{self.cluster}@{self.prefix}"


class Blobs:
    """The store of one stream's pictures. Thread-safe.

    Every method raises TransientError naming the store when that can not be reached, written or read; what is wrong with
    a single picture is an InvalidRecord.
    """

    def __init__(self, settings: BlobSettings) -> None:
        """Contacts nothing. Raises ConfigurationError for a URL that is no folder and no object store."""
        self._settings = settings
        self._storage = Storage(settings.url, settings.options, "blobs.url")

    def initialise(self) -> None:
        """Make the store where there is none yet. For explicit set-up only, never for a running worker.

        Raises ConfigurationError when the place refuses us, or is a bucket that does not exist.
        """
        with self._storage.setting_up():
            if self._sentinel() is None:
                self._storage.create_folder(IMAGES)
                self._storage.create_folder("")
                self._storage.write(SENTINEL, SENTINEL_CONTENT)

    def check(self) -> None:
        """See at a worker's start that the store is there, lets us in, and says of a picture that is absent that it is.

        Raises ConfigurationError when it does not, or was never initialised.
        """
        with self._storage.setting_up():
            found = self._sentinel()
            # S3 refuses to say that an object is absent to who may not list the bucket.
            self._storage.size(picture_path("0" * 64))
        if found is None:
            raise ConfigurationError(
                f"setting `blobs.url`: no store of pictures at {self._settings.url}: no file `{SENTINEL}` in it; "
                "mount it, or make it with `imgdiff topics create`"
            )
        if found != SENTINEL_CONTENT:
            raise ConfigurationError(
                f"setting `blobs.url`: {self._settings.url}/{SENTINEL}: found {found[:40]!r}, "
                f"expected {SENTINEL_CONTENT[:40]!r}: the store was made by another version"
            )

    def add_stream(self, stream: NotedStream) -> None:
        """Note, before anything of it is stored, that records of this stream refer to pictures here: who removes what
        nobody needs has to know whom to ask. Raises ConfigurationError when the place refuses us."""
        with self._storage.setting_up():
            if self._storage.size(stream.path) is None:
                self._storage.create_folder(STREAMS)
                self._storage.write(stream.path, NOTE)

    def streams(self) -> list[NotedStream]:
        """All streams whose records may refer to pictures here."""
        names = (name.partition("@") for name in self._storage.names(STREAMS))
        return [NotedStream(cluster, prefix) for cluster, at, prefix in names if at]

    def reachable(self) -> bool:
        """Whether the store answers now."""
        try:
            return self._sentinel() is not None
        except TransientError:
            return False

    def put(self, data: bytes) -> str:
        """Store encoded bytes and return their SHA-256 in hex; they are durable when this returns."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = picture_path(sha256)
        try:
            if not self._stored(path, sha256, data):
                self._storage.write(path, data)
        except FileNotFoundError as error:
            raise self._gone() from error
        return sha256

    def _stored(self, path: str, sha256: str, data: bytes) -> bool:
        """Whether the picture is there, and stays: it has been made young where it was not."""
        found = self._storage.stat(path)
        # Another size is the remnant of a disk that lost power.
        if found is None or found.size != len(data):
            return False
        if time.time() - found.modified > RENEWED_AFTER_S:
            self._storage.write(path, data)
        if sweeps_at_work(self._storage, sha256[:2]):
            raise TransientError(
                f"{self._settings.url} (setting `blobs.url`): `imgdiff blobs gc` is at work among the pictures "
                f"{sha256[:2]}...: picture {sha256} is looked for again when it has gone on"
            )
        if self._storage.size(path) != len(data):
            return False
        self._storage.settle(path)
        return True

    def put_image(self, image: Image.Image) -> ImageRef:
        """Store a picture as PNG and return the reference to it.

        Raises ValueError for a picture that no reader of this store would accept, being too large.
        """
        width, height = image.size
        if width * height > self._settings.max_pixels:
            raise ValueError(
                f"a picture of {width}x{height} pixels, setting `blobs.max_pixels` allows {self._settings.max_pixels}"
            )
        data = encode_png(image)
        if len(data) > self._settings.max_bytes:
            raise ValueError(
                f"a picture of {len(data)} bytes, setting `blobs.max_bytes` allows {self._settings.max_bytes}"
            )
        return ImageRef(sha256=self.put(data), width=width, height=height, byte_size=len(data))

    def get(self, sha256: str) -> bytes:
        """The bytes with this digest, checked against it.

        Raises InvalidRecord: IMAGE_MISSING when they are absent though the store is there, IMAGE_TOO_LARGE above
        `blobs.max_bytes`, IMAGE_CORRUPT when their digest is another.
        """
        limit = self._settings.max_bytes
        data = self._read(sha256, limit + 1)
        if len(data) > limit:
            raise InvalidRecord(
                InvalidReason.IMAGE_TOO_LARGE,
                f"picture {sha256}: more than {limit} bytes, the limit (setting `blobs.max_bytes`)",
            )
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise InvalidRecord(
                InvalidReason.IMAGE_CORRUPT, f"picture {sha256}: the {len(data)} bytes stored have the digest {found}"
            )
        return data

    def picture(self, ref: ImageRef, *, decode: bool = True) -> Picture:
        """The picture that a record refers to: fetched, checked, and decoded unless only its bytes are wanted.

        Raises InvalidRecord as `get` does, and: IMAGE_UNREADABLE when the bytes are no picture, IMAGE_TOO_LARGE above
        `blobs.max_pixels` (told from the header, before any pixel is decoded), IMAGE_CORRUPT when the picture's size is
        not the one that the record gives.
        """
        picture = Picture(self.get(ref.sha256))
        size = _size_of(picture.data, ref.sha256)
        if size[0] * size[1] > self._settings.max_pixels:
            raise InvalidRecord(
                InvalidReason.IMAGE_TOO_LARGE,
                f"picture {ref.sha256}: {size[0]}x{size[1]} pixels, "
                f"expected at most {self._settings.max_pixels} (setting `blobs.max_pixels`)",
            )
        if size != (ref.width, ref.height):
            raise InvalidRecord(
                InvalidReason.IMAGE_CORRUPT,
                f"picture {ref.sha256}: {size[0]}x{size[1]} pixels, the record says {ref.width}x{ref.height}",
            )
        if decode:
            try:
                _ = picture.image
            except MemoryError:
                raise
            except Exception as error:  # Pillow's decoders raise a dozen unrelated types on broken input
                raise _unreadable(ref.sha256, error) from error
        return picture

    def _read(self, sha256: str, limit: int) -> bytes:
        path = picture_path(sha256)
        try:
            return self._storage.read(path, limit)
        except FileNotFoundError:
            pass
        # The store may have come back between two looks, so the picture is looked for between two of the sentinel.
        self._confirm_store()
        try:
            return self._storage.read(path, limit)
        except FileNotFoundError:
            self._confirm_store()
        raise InvalidRecord(InvalidReason.IMAGE_MISSING, f"picture {sha256}: not in the store {self._settings.url}")

    def _confirm_store(self) -> None:
        if self._sentinel() is None:
            raise self._gone()

    def _sentinel(self) -> bytes | None:
        try:
            return self._storage.read(SENTINEL, 1_024)
        except FileNotFoundError:
            return None

    def _gone(self) -> TransientError:
        return TransientError(
            f"{self._settings.url} (setting `blobs.url`): the store of pictures is gone: no file `{SENTINEL}` in it"
        )


def encode_png(image: Image.Image) -> bytes:
    """The picture as PNG, RGB: equal pixels give equal bytes, whatever else the picture carries."""
    plain = image.convert("RGB")
    plain.info = {}
    buffer = BytesIO()
    plain.save(buffer, "PNG", compress_level=PNG_COMPRESSION)
    return buffer.getvalue()


def sweeps_at_work(storage: Storage, group: str) -> list[str]:
    """The tokens of the sweeps that are deleting pictures whose digests begin with these two digits."""
    alive = time.time() - SWEEP_LEASE_S
    return [PurePosixPath(file.path).name for file in storage.files(f"{SWEEPING}/{group}") if file.modified > alive]


def picture_path(sha256: str) -> str:
    """Where a picture lies below the store. Raises ValueError for what is no digest."""
    if not _SHA256.match(sha256):
        raise ValueError(f"found {sha256[:80]!r}, expected a SHA-256: 64 hex digits")
    return f"{IMAGES}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _size_of(data: bytes, sha256: str) -> tuple[int, int]:
    """Width and height from the header alone."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as opened:
            return opened.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidRecord(InvalidReason.IMAGE_TOO_LARGE, f"picture {sha256}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen unrelated types on broken input
        raise _unreadable(sha256, error) from error


def _unreadable(sha256: str, error: Exception) -> InvalidRecord:
    return InvalidRecord(
        InvalidReason.IMAGE_UNREADABLE,
        f"picture {sha256}: not a readable {', '.join(FORMATS)}: {type(error).__name__} {error}"[:300],
    )
