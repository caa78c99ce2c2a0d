"""The object store: what goes in comes out, and what is wrong is told apart: the picture's fault or the store's."""

import errno
import hashlib
import os
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from common.blobs import RENEWED_AFTER_S, SENTINEL, SWEEP_LEASE_S, SWEEPING, Blobs, NotedStream, encode_png
from common.runtime.errors import ConfigurationError, TransientError
from common.settings import BlobSettings
from common.storage import Storage
from schemas.images import ImageRef
from schemas.invalid import InvalidReason, InvalidRecord
from tests.s3_server import DENIED, Answer, Environ, Place, S3Server, always


@pytest.fixture
def store(place: Place) -> BlobSettings:
    return BlobSettings(url=place.url, options=dict(place.options))


@pytest.fixture
def folder(tmp_path: Path) -> BlobSettings:
    return BlobSettings(url=str(tmp_path / "blobs"))


@pytest.fixture
def blobs(store: BlobSettings) -> Blobs:
    return initialised(store)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Blobs:
    return initialised(BlobSettings(url=str(tmp_path_factory.mktemp("shared"))))


def initialised(settings: BlobSettings) -> Blobs:
    blobs = Blobs(settings)
    blobs.initialise()
    return blobs


def picture(width: int = 8, height: int = 6, colour: tuple[int, int, int] = (200, 30, 60)) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def ref_to(sha256: str, width: int = 8, height: int = 6) -> ImageRef:
    return ImageRef(sha256=sha256, width=width, height=height, byte_size=1)


def path_of(settings: BlobSettings, sha256: str) -> Path:
    return Path(settings.url) / "images" / sha256[:2] / sha256[2:4] / sha256


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size: a decompression bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def reason_of(call: Any, *arguments: Any) -> InvalidReason:
    with pytest.raises(InvalidRecord) as caught:
        call(*arguments)
    return caught.value.reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(min_size=1, max_size=2_000))
def test_bytes_come_back_under_their_digest(shared: Blobs, data: bytes) -> None:
    sha256 = shared.put(data)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert shared.get(sha256) == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(width=st.integers(1, 40), height=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_pixels_come_back_through_png(shared: Blobs, width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ref = shared.put_image(Image.fromarray(pixels))
    assert (ref.width, ref.height) == (width, height)
    found = shared.picture(ref)
    assert len(found.data) == ref.byte_size
    assert np.array_equal(np.asarray(found.image), pixels)


def test_equal_pixels_give_equal_bytes() -> None:
    plain = picture()
    annotated = picture()
    annotated.info = {"icc_profile": b"profile", "dpi": (72, 72), "comment": "drawn on a Monday"}
    with_alpha = picture().convert("RGBA")
    assert encode_png(plain) == encode_png(annotated) == encode_png(with_alpha)


def test_a_picture_that_is_there_is_not_written_again(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")
    before = path_of(folder, sha256).stat()
    assert blobs.put(b"pixels") == sha256
    after = path_of(folder, sha256).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_remnant_of_another_size_is_written_again(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")
    path_of(folder, sha256).write_bytes(b"pix")
    blobs.put(b"pixels")
    assert blobs.get(sha256) == b"pixels"


def test_writers_of_one_picture_do_not_disturb_each_other(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    data = [f"picture {index % 7}".encode() for index in range(140)]
    with ThreadPoolExecutor(16) as pool:
        digests = list(pool.map(blobs.put, data))
    assert [blobs.get(digest) for digest in digests] == data
    files = [path for path in Path(folder.url).rglob("*") if path.is_file()]
    assert len(files) == 7 + 1, "one file per picture, the sentinel, and nothing written aside is left"


def test_absent_while_the_store_is_there(blobs: Blobs) -> None:
    assert reason_of(blobs.get, "0" * 64) is InvalidReason.IMAGE_MISSING


def test_other_bytes_under_the_digest(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")
    path_of(folder, sha256).write_bytes(b"pixelz")
    assert reason_of(blobs.get, sha256) is InvalidReason.IMAGE_CORRUPT


@pytest.mark.parametrize(
    "data",
    [
        b"not a picture",
        b"",
        encode_png(picture())[:40],
        encode_png(picture(64, 64))[:-30],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n",
    ],
    ids=["text", "empty", "header only", "cut", "a format that is not ours"],
)
def test_bytes_that_are_no_picture(blobs: Blobs, data: bytes) -> None:
    size = (64, 64) if len(data) > 60 else (8, 6)
    assert reason_of(blobs.picture, ref_to(blobs.put(data), *size)) is InvalidReason.IMAGE_UNREADABLE


def test_too_many_bytes(store: BlobSettings) -> None:
    blobs = initialised(store)
    sha256 = blobs.put(b"x" * 101)
    small = Blobs(store.model_copy(update={"max_bytes": 100}))
    assert reason_of(small.get, sha256) is InvalidReason.IMAGE_TOO_LARGE
    assert Blobs(store.model_copy(update={"max_bytes": 101})).get(sha256) == b"x" * 101


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [5_000, 12_000, 65_535])
def test_a_decompression_bomb_is_told_from_its_header(blobs: Blobs, side: int) -> None:
    sha256 = blobs.put(png_claiming(side, side))
    assert reason_of(blobs.picture, ref_to(sha256, side, side)) is InvalidReason.IMAGE_TOO_LARGE


def test_a_size_other_than_the_records(blobs: Blobs) -> None:
    ref = blobs.put_image(picture(8, 6))
    assert reason_of(blobs.picture, ref_to(ref.sha256, 6, 8)) is InvalidReason.IMAGE_CORRUPT


def test_only_the_header_is_read_where_pixels_are_not_wanted(blobs: Blobs) -> None:
    cut = encode_png(picture(64, 64))[:-30]
    ref = ref_to(blobs.put(cut), 64, 64)
    assert blobs.picture(ref, decode=False).data == cut


def test_what_no_reader_would_take_is_not_stored(store: BlobSettings) -> None:
    blobs = initialised(store.model_copy(update={"max_pixels": 100}))
    with pytest.raises(ValueError, match=r"11x10 pixels.*blobs\.max_pixels.*100"):
        blobs.put_image(picture(11, 10))
    blobs = initialised(store.model_copy(update={"max_bytes": 20}))
    with pytest.raises(ValueError, match=r"blobs\.max_bytes"):
        blobs.put_image(picture())


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "0" * 63, "A" * 64, "0" * 64 + "\n", ""])
def test_nothing_but_a_digest_becomes_a_path(blobs: Blobs, sha256: str) -> None:
    with pytest.raises(ValueError, match="expected a SHA-256"):
        blobs.get(sha256)


def test_a_store_that_is_gone_is_not_the_records_fault(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    ref = blobs.put_image(picture())
    os.rename(folder.url, f"{folder.url}.away")
    for call in (lambda: blobs.get(ref.sha256), lambda: blobs.get("0" * 64), lambda: blobs.put(b"new")):
        with pytest.raises(TransientError, match=r"blobs\.url"):
            call()
    assert not blobs.reachable()
    assert not Path(folder.url).exists(), "nothing may be made under a mount point"
    os.rename(f"{folder.url}.away", folder.url)
    assert blobs.reachable()
    assert blobs.picture(ref).data == encode_png(picture())


def test_an_empty_mount_point_is_not_a_store(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")
    os.rename(folder.url, f"{folder.url}.away")
    os.mkdir(folder.url)
    for call in (lambda: blobs.get(sha256), lambda: blobs.put(b"new"), lambda: blobs.put(b"pixels")):
        with pytest.raises(TransientError, match=SENTINEL):
            call()
    assert os.listdir(folder.url) == []


def test_a_store_that_returns_between_two_looks(folder: BlobSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")
    away = f"{folder.url}.away"
    os.rename(folder.url, away)
    confirm = blobs._sentinel

    def returns_then_confirms() -> bytes | None:
        if os.path.exists(away):
            os.rename(away, folder.url)
        return confirm()

    monkeypatch.setattr(blobs, "_sentinel", returns_then_confirms)
    assert blobs.get(sha256) == b"pixels"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EIO, errno.ETIMEDOUT, errno.ECONNREFUSED])
def test_outside_faults_are_transient_and_name_the_store(
    folder: BlobSettings, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("builtins.open", fails)
    for call in (lambda: blobs.get(sha256), lambda: blobs.put(b"new")):
        with pytest.raises(TransientError) as caught:
            call()
        assert folder.url in str(caught.value)
        assert os.strerror(number) in str(caught.value)


def test_a_worker_does_not_start_without_a_store(store: BlobSettings) -> None:
    blobs = Blobs(store)
    with pytest.raises(ConfigurationError, match=r"blobs\.url.*imgdiff topics create"):
        blobs.check()
    blobs.initialise()
    blobs.check()
    Blobs(store).check()


def test_a_bucket_that_is_not_there_is_no_missing_picture(s3: Place, s3_server: S3Server) -> None:
    """S3 says 404 for both."""
    blobs = initialised(BlobSettings(url=s3.url, options=dict(s3.options)))
    sha256 = blobs.put(b"pixels")
    assert reason_of(blobs.get, "0" * 64) is InvalidReason.IMAGE_MISSING
    s3_server.remove_bucket(s3.url.split("/")[2])
    for call in (lambda: blobs.get(sha256), lambda: blobs.get("0" * 64), lambda: blobs.put(b"new")):
        with pytest.raises(TransientError, match=rf"blobs\.url.*{SENTINEL}"):
            call()
    assert not blobs.reachable()
    with pytest.raises(ConfigurationError, match=r"blobs\.url.*bucket does not exist"):
        blobs.initialise()


def test_a_new_picture_takes_two_requests(s3: Place, s3_server: S3Server) -> None:
    blobs = initialised(BlobSettings(url=s3.url, options=dict(s3.options)))
    s3_server.requests.clear()
    blobs.put(b"pixels")
    assert [request.partition(" ")[0] for request in s3_server.requests] == ["HEAD", "PUT"]


def test_a_key_that_is_refused_stops_a_start_but_not_a_run(s3: Place, s3_server: S3Server) -> None:
    blobs = initialised(BlobSettings(url=s3.url, options=dict(s3.options)))
    sha256 = blobs.put(b"pixels")
    with s3_server.meeting(always(DENIED)):
        for call in (blobs.check, blobs.initialise):
            with pytest.raises(ConfigurationError, match=r"blobs\.url.*Access Denied.*`blobs\.options`"):
                call()
        for work in (lambda: blobs.get(sha256), lambda: blobs.put(b"new")):
            with pytest.raises(TransientError, match=r"blobs\.url.*(Access Denied|Forbidden)"):
                work()
    assert blobs.get(sha256) == b"pixels"


def test_who_may_not_list_the_bucket_hears_it_at_the_start(s3: Place, s3_server: S3Server) -> None:
    """S3 answers 403 instead of 404 for an absent object then, which would be waited out for ever."""
    blobs = initialised(BlobSettings(url=s3.url, options=dict(s3.options)))

    def absent_ones_are_refused(environ: Environ) -> Answer | None:
        return None if environ["PATH_INFO"].endswith(SENTINEL) else DENIED

    with (
        s3_server.meeting(absent_ones_are_refused),
        pytest.raises(ConfigurationError, match=r"blobs\.url.*Forbidden"),
    ):
        blobs.check()


def age(settings: BlobSettings, sha256: str, seconds: float) -> None:
    changed = time.time() - seconds
    os.utime(path_of(settings, sha256), (changed, changed))


def test_an_old_picture_that_is_stored_again_is_young(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")
    age(folder, sha256, RENEWED_AFTER_S + 60)
    blobs.put(b"pixels")
    assert time.time() - path_of(folder, sha256).stat().st_mtime < 60


def test_a_picture_is_not_taken_for_stored_while_a_sweep_may_delete_it(store: BlobSettings) -> None:
    blobs = initialised(store)
    sha256 = blobs.put(b"pixels")
    place = Storage(store.url, store.options, "blobs.url")
    place.create_folder(SWEEPING)
    place.write(f"{SWEEPING}/{sha256[:2]}/token", b"")
    with pytest.raises(TransientError, match="imgdiff blobs gc"):
        blobs.put(b"pixels")
    blobs.put(b"pixels that nobody has stored yet")
    place.delete(f"images/{sha256[:2]}/{sha256[2:4]}/{sha256}")
    place.delete(f"{SWEEPING}/{sha256[:2]}/token")
    assert blobs.put(b"pixels") == sha256
    assert blobs.get(sha256) == b"pixels"


def test_a_picture_that_a_sweep_took_meanwhile_is_written_again(
    folder: BlobSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")

    def ended_just_now(*_: object) -> list[str]:
        path_of(folder, sha256).unlink()
        return []

    monkeypatch.setattr("common.blobs.sweeps_at_work", ended_just_now)
    blobs.put(b"pixels")
    assert blobs.get(sha256) == b"pixels"


def test_a_sweep_that_was_killed_holds_nobody_up_for_ever(folder: BlobSettings) -> None:
    blobs = initialised(folder)
    sha256 = blobs.put(b"pixels")
    left = Path(folder.url) / SWEEPING / sha256[:2] / "token"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    os.utime(left, (0, time.time() - SWEEP_LEASE_S - 60))
    assert blobs.put(b"pixels") == sha256


def test_initialising_again_changes_nothing(blobs: Blobs) -> None:
    sha256 = blobs.put(b"pixels")
    blobs.initialise()
    assert blobs.get(sha256) == b"pixels"


def test_a_store_of_another_layout_is_refused(folder: BlobSettings) -> None:
    initialised(folder)
    (Path(folder.url) / SENTINEL).write_bytes(b"layout 9")
    with pytest.raises(ConfigurationError, match="another version"):
        Blobs(folder).check()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/blobs", "http://127.0.0.1/blobs", "nonsense://x"])
def test_a_place_that_can_not_be_written_to_atomically_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"blobs\.url"):
        Blobs(BlobSettings(url=url))


def test_each_stream_is_noted_once(blobs: Blobs) -> None:
    assert blobs.streams() == []
    first, second, elsewhere = (
        NotedStream("A-b_1", ".first"),
        NotedStream("A-b_1", "second"),
        NotedStream("C", "second"),
    )
    for stream in (second, first, second, elsewhere):
        blobs.add_stream(stream)
    assert blobs.streams() == [first, second, elsewhere]
