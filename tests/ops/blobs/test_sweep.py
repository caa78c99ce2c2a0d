"""What goes and what stays, in every kind of store, while writers are at work."""

import hashlib
import threading
import time
from collections.abc import Callable

import pytest

from common.blobs import RENEWED_AFTER_S, SWEEP_LEASE_S, SWEEPING, Blobs, picture_path
from common.runtime.errors import TransientError
from common.settings import BlobSettings
from common.storage import Storage, StoredFile
from ops.blobs.digests import DigestSet
from ops.blobs.sweep import PictureSweep, Swept
from tests.s3_server import Place

NOW = time.time()
YEAR = 365 * 86_400


def pictures_of(place: Place) -> Blobs:
    blobs = Blobs(BlobSettings(url=place.url, options=dict(place.options)))
    blobs.initialise()
    return blobs


def storage_of(place: Place) -> Storage:
    return Storage(place.url, place.options, "blobs.url")


def needing(*digests: str) -> DigestSet:
    found = DigestSet()
    for digest in digests:
        found.add_all_in(digest.encode())
    return found


def swept(storage: Storage, needed: DigestSet, cutoff: float, *, dry_run: bool = False) -> Swept:
    sweep = PictureSweep(storage, needed, cutoff, dry_run=dry_run, stopping=lambda: False)
    sweep.run(lambda _: None)
    return sweep.swept


def files(swept: Swept) -> tuple[int, int, int, int]:
    return swept.stored.files, swept.referenced.files, swept.young.files, swept.removed.files


def paths(storage: Storage) -> set[str]:
    return {file.path for file in storage.files("")}


def test_only_what_is_old_and_not_needed_goes(place: Place) -> None:
    blobs, storage = pictures_of(place), storage_of(place)
    needed, useless = blobs.put(b"needed"), blobs.put(b"useless")
    before = paths(storage)
    assert files(swept(storage, needing(needed), NOW - YEAR)) == (2, 0, 2, 0)
    everything_is_old = time.time() + YEAR
    dry = swept(storage, needing(needed), everything_is_old, dry_run=True)
    assert (files(dry), dry.removed.bytes) == ((2, 1, 0, 1), len(b"useless"))
    assert paths(storage) == before
    assert files(swept(storage, needing(needed), everything_is_old)) == (2, 1, 0, 1)
    assert paths(storage) == before - {picture_path(useless)}


def test_what_it_does_not_know_stays(place: Place) -> None:
    pictures_of(place)
    storage = storage_of(place)
    digest = hashlib.sha256(b"x").hexdigest()
    group = digest[:2]
    unfinished = f"images/{group}/{digest[2:4]}/.{digest}.{'0' * 32}"
    others = {
        f"images/{group}/notes.txt",
        f"images/{group}/{digest}",
        f"images/{group}/{digest[2:4]}/{'f' * 64}",
        f"images/{group}/{digest[2:4]}/.{digest}.backup",
        "imgdiff-blobs",
    }
    for path in {unfinished, *others} - {"imgdiff-blobs"}:
        storage.write(path, b"bytes")
    assert files(swept(storage, needing(), time.time() + YEAR)) == (1, 0, 0, 1)
    assert paths(storage) == others


def test_two_at_once_are_refused(place: Place) -> None:
    blobs, storage = pictures_of(place), storage_of(place)
    digest = blobs.put(b"useless")
    storage.create_folder(SWEEPING)
    storage.write(f"{SWEEPING}/{digest[:2]}/{'0' * 32}", b"")
    with pytest.raises(TransientError, match="another `imgdiff blobs gc` is at work"):
        swept(storage, needing(), time.time() + YEAR)
    assert blobs.get(digest) == b"useless"
    assert [file.path for file in storage.files(SWEEPING)] == [f"{SWEEPING}/{digest[:2]}/{'0' * 32}"]


class Stepped(Storage):
    """Runs something right before one of the sweep's own steps."""

    def __init__(self, place: Place, step: str, before: Callable[[], None]) -> None:
        super().__init__(place.url, place.options, "blobs.url")
        self._step = step
        self._before = before

    def stat(self, path: str) -> StoredFile | None:
        self._reached("stat", path)
        return super().stat(path)

    def delete(self, path: str) -> None:
        self._reached("delete", path)
        super().delete(path)

    def _reached(self, step: str, path: str) -> None:
        if step == self._step and path.startswith("images/"):
            self._step = "done"
            self._before()


@pytest.fixture
def old_picture(s3: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """Digest of a picture that both sides take for old until it is stored again."""
    digest = pictures_of(s3).put(b"useless")
    written = storage_of(s3).stat(picture_path(digest))
    assert written is not None
    stat = Storage.stat

    def years_ago(self: Storage, path: str) -> StoredFile | None:
        found = stat(self, path)
        if found is None or found.modified > written.modified:
            return found
        return StoredFile(found.path, found.size, found.modified - YEAR)

    files = Storage.files

    def all_years_ago(self: Storage, folder: str) -> list[StoredFile]:
        return [
            StoredFile(file.path, file.size, file.modified - YEAR) if folder.startswith("images") else file
            for file in files(self, folder)
        ]

    monkeypatch.setattr(Storage, "stat", years_ago)
    monkeypatch.setattr(Storage, "files", all_years_ago)
    # S3's times are whole seconds.
    while time.time() < written.modified + 1.1:
        time.sleep(0.05)
    return digest


def test_what_is_stored_again_before_the_last_look_stays(s3: Place, old_picture: str) -> None:
    """The writer has made it young, and waits for the sweep to end before it trusts in it."""
    blobs = pictures_of(s3)
    waited: list[str] = []

    def stored_again() -> None:
        with pytest.raises(TransientError, match="is at work"):
            blobs.put(b"useless")
        waited.append(old_picture)

    storage = Stepped(s3, "stat", stored_again)
    assert files(swept(storage, needing(), NOW - RENEWED_AFTER_S - 3_600)) == (1, 0, 1, 0)
    assert waited == [old_picture]
    assert blobs.put(b"useless") == old_picture
    assert blobs.get(old_picture) == b"useless"


def test_what_is_stored_again_after_the_last_look_is_written_again(s3: Place, old_picture: str) -> None:
    """The sweep deletes what the writer has just made young: the writer has noticed that a sweep is at work."""
    blobs = pictures_of(s3)
    done = threading.Event()
    outcomes: list[str] = []

    def stored_again() -> None:
        with pytest.raises(TransientError, match="is at work"):
            blobs.put(b"useless")

    def as_the_runtime_does() -> None:
        while not done.wait(0.05):
            try:
                outcomes.append(blobs.put(b"useless"))
            except TransientError:
                continue
            return

    writer = threading.Thread(target=as_the_runtime_does)

    def stored_again_and_again() -> None:
        stored_again()
        writer.start()

    storage = Stepped(s3, "delete", stored_again_and_again)
    assert files(swept(storage, needing(), NOW - RENEWED_AFTER_S - 3_600)) == (1, 0, 0, 1)
    writer.join(20)
    done.set()
    assert outcomes == [old_picture]
    assert blobs.get(old_picture) == b"useless"


def test_a_sweep_that_fails_leaves_its_word_until_it_runs_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last request to delete may still be on its way."""
    blobs, storage = pictures_of(place), storage_of(place)
    digest = blobs.put(b"useless")

    def no_answer(*_: object) -> None:
        raise TransientError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "delete", no_answer)
        with pytest.raises(TransientError, match="no answer"):
            swept(storage, needing(), time.time() + YEAR)
    with pytest.raises(TransientError, match="is at work"):
        blobs.put(b"useless")
    monkeypatch.setattr("common.blobs.SWEEP_LEASE_S", -SWEEP_LEASE_S)
    assert blobs.put(b"useless") == digest


def test_it_says_again_that_it_is_at_work(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, storage = pictures_of(place), storage_of(place)
    blobs.put(b"useless")
    said: list[str] = []
    write = Storage.write

    def counted(self: Storage, path: str, data: bytes) -> None:
        said.append(path)
        write(self, path, data)

    monkeypatch.setattr(Storage, "write", counted)
    monkeypatch.setattr("ops.blobs.sweep.SWEEP_LEASE_S", 0.0)
    monkeypatch.setattr("ops.blobs.sweep.sweeps_at_work", lambda *_: [])
    swept(storage, needing(), time.time() + YEAR)
    assert len(said) == 2
    assert len(set(said)) == 1


def test_it_stops_when_told_to(place: Place) -> None:
    blobs, storage = pictures_of(place), storage_of(place)
    digest = blobs.put(b"useless")
    sweep = PictureSweep(storage, needing(), time.time() + YEAR, dry_run=False, stopping=lambda: True)
    sweep.run(lambda _: None)
    assert sweep.swept.removed.files == 0
    assert blobs.get(digest) == b"useless"
