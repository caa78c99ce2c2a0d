"""Places for files: what holds for each kind, and what an S3 does when it is slow, busy, refusing or gone."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.runtime.errors import ConfigurationError, TransientError
from common.storage import AccessRefusedError, Storage
from tests.integration.kit import wait_until
from tests.s3_server import DENIED, SLOW_DOWN, Answer, Environ, Place, S3Server, always

QUICK = {"config_kwargs": {"connect_timeout": 1, "read_timeout": 1, "retries": {"total_max_attempts": 1}}}


def storage(place: Place, **options: Any) -> Storage:
    return Storage(place.url, {**place.options, **options}, "blobs.url")


@pytest.fixture
def made(place: Place) -> Storage:
    """With the first levels that `write` wants to find."""
    found = storage(place)
    found.create_folder("images")
    found.create_folder("other")
    return found


def test_what_is_written_is_there_with_its_size_and_time(made: Storage) -> None:
    before = time.time()
    made.write("images/ab/one", b"12345")
    found = made.stat("images/ab/one")
    assert found is not None
    assert (found.path, found.size) == ("images/ab/one", 5)
    # S3 gives whole seconds.
    assert before - 2 <= found.modified <= time.time() + 2
    assert made.read("images/ab/one") == b"12345"
    assert made.read("images/ab/one", 3) == b"123"
    assert made.stat("images/ab") is None or made.local
    assert made.stat("images/ab/two") is None


def test_writing_again_makes_it_young(made: Storage) -> None:
    def written() -> float:
        made.write("images/one", b"1")
        found = made.stat("images/one")
        assert found is not None
        return found.modified

    first = written()
    # S3's times are whole seconds.
    wait_until("it is younger", lambda: written() > first, 10)


def test_files_are_all_that_lie_below(made: Storage) -> None:
    for path in ("images/b", "images/ab/cd/one", "images/ab/.hidden", "other/two"):
        made.write(path, path.encode())
    found = list(made.files("images"))
    assert {file.path for file in found} == {"images/b", "images/ab/cd/one", "images/ab/.hidden"}
    assert all(file.size == len(file.path) for file in found)
    assert list(made.files("nothing")) == []
    assert (made.names("images"), made.folders("images")) == (["b"], ["ab"])
    assert (made.names("nothing"), made.folders("nothing")) == ([], [])


def test_an_empty_file_is_read_with_a_limit(made: Storage) -> None:
    made.write("images/empty", b"")
    assert made.read("images/empty", 10) == b""


def test_a_block_that_fails_writes_nothing_to_an_object_store(s3: Place) -> None:
    place = storage(s3)

    def fails() -> None:
        with place.writing("pending/shard") as file:
            file.write(b"x" * 10_000)
            raise OSError(28, "No space left on device")

    with pytest.raises(TransientError, match="No space left"):
        fails()
    assert list(place.files("")) == []


def test_large_files_go_up_in_parts(s3: Place, s3_server: S3Server) -> None:
    place = storage(s3)
    piece = os.urandom(1024 * 1024)
    with place.writing("pending/shard") as file:
        for _ in range(101):
            file.write(piece)
    assert place.size("pending/shard") == 101 * len(piece)
    assert any("POST" in request for request in s3_server.requests), "a multi-part upload"
    place.move("pending/shard", "data/shard")
    assert place.size("pending/shard") is None
    with place.reading("data/shard") as file:
        file.seek(100 * len(piece))
        assert file.read() == piece


def every_call(place: Storage) -> list[Callable[[], object]]:
    def writes_a_piece() -> None:
        with place.writing("images/new") as file:
            file.write(b"data")

    return [
        lambda: place.read("images/one"),
        lambda: place.read("images/one", 10),
        lambda: place.size("images/one"),
        lambda: place.size("images/absent"),
        lambda: place.write("images/new", b"data"),
        writes_a_piece,
        lambda: place.move("images/one", "images/new"),
        lambda: place.delete("images/one"),
        lambda: place.names("images"),
        lambda: list(place.files("images")),
    ]


def raised_by(call: Callable[[], object]) -> TransientError:
    with pytest.raises(TransientError, match=r"^s3://.*setting `blobs\.url`") as caught:
        call()
    return caught.value


def test_a_busy_store_is_an_outage(s3: Place, s3_server: S3Server) -> None:
    place = storage(s3, **QUICK)
    place.write("images/one", b"1")
    with s3_server.meeting(always(SLOW_DOWN)):
        errors = [raised_by(call) for call in every_call(place)]
    assert {type(error) for error in errors} == {TransientError}
    # The answer to HEAD has no body that could say more.
    assert all("reduce your request rate" in str(error) or "Service Unavailable" in str(error) for error in errors)
    assert place.read("images/one") == b"1"


def test_a_store_that_hiccups_is_asked_again(s3: Place, s3_server: S3Server) -> None:
    place = storage(s3)
    place.write("images/one", b"1")
    seen: list[str] = []

    def once(environ: Environ) -> Any:
        seen.append(environ["REQUEST_METHOD"])
        return SLOW_DOWN if len(seen) == 1 else None

    with s3_server.meeting(once):
        assert place.read("images/one") == b"1"
    assert len(seen) > 1


@pytest.mark.parametrize(("options", "tries"), [(QUICK, 1), ({}, 3)])
def test_a_busy_store_is_asked_as_often_as_botocore_is_told(
    s3: Place, s3_server: S3Server, options: dict[str, Any], tries: int
) -> None:
    """And not five times as often, as s3fs does."""
    place = storage(s3, **options)
    asked: list[str] = []

    def counts(environ: Environ) -> Answer:
        asked.append(environ["PATH_INFO"])
        return SLOW_DOWN

    with s3_server.meeting(counts):
        raised_by(lambda: place.read("images/one", 10))
    assert len(asked) == tries


def test_a_refusal_is_one_and_is_waited_out(s3: Place, s3_server: S3Server) -> None:
    place = storage(s3, **QUICK)
    place.write("images/one", b"1")
    with s3_server.meeting(always(DENIED)):
        errors = [raised_by(call) for call in every_call(place)]
    assert {type(error) for error in errors} == {AccessRefusedError}
    assert place.read("images/one") == b"1"


def test_a_store_that_is_silent_is_given_up(s3: Place, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps a connection open and says nothing ends at the read time-out; what trickles, at the call's deadline."""
    place = storage(s3, **QUICK)
    place.write("images/one", b"1")

    def sleeps(_: Environ) -> None:
        time.sleep(2.5)

    with s3_server.meeting(sleeps):
        raised_by(lambda: place.read("images/one", 10))
        patient = storage(s3)
        monkeypatch.setattr("common.storage.CALL_DEADLINE_S", 1.0)
        raised_by(lambda: patient.size("images/one"))
        monkeypatch.undo()
        assert patient.read("images/one", 10) == b"1"


def test_a_store_where_nobody_listens_is_an_outage(s3: Place, s3_server: S3Server) -> None:
    place = storage(s3, **QUICK)
    place.write("images/one", b"1")
    with s3_server.down():
        errors = [raised_by(call) for call in every_call(place)]
    assert {type(error) for error in errors} == {TransientError}
    assert place.read("images/one") == b"1"


def test_every_call_to_s3_has_time_outs_unless_told_otherwise(s3: Place) -> None:
    told = storage(s3, config_kwargs={"read_timeout": 7})
    told.size("one")
    config = told._fs.s3.meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 7)
    assert config.retries["total_max_attempts"] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "another"}, r"blobs\.url.*does not exist.*`blobs\.options`"),
        ({"endpoint_url": "store:9000"}, r"blobs\.options.*Invalid endpoint"),
        ({"misspelt": 1}, r"blobs\.options.*misspelt"),
    ],
)
def test_wrong_options_are_one_line_at_the_start(s3: Place, change: dict[str, Any], said: str) -> None:
    place = storage(s3, **change)
    with pytest.raises(ConfigurationError, match=said) as caught, place.setting_up():
        place.read("one", 10)
    assert s3.options["secret"] not in str(caught.value)


def test_no_credentials_are_one_line_at_the_start(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    place = storage(s3, key=None, secret=None)
    with (
        pytest.raises(ConfigurationError, match=r"credentials.*`blobs\.options` or the environment"),
        place.setting_up(),
    ):
        place.read("one", 10)


def test_a_bucket_that_is_not_there_is_one_line_at_the_start(s3_server: S3Server) -> None:
    place = Storage("s3://no-such-bucket/blobs", s3_server.options(), "blobs.url")
    with pytest.raises(ConfigurationError, match=r"blobs\.url.*no-such-bucket.*make the bucket"), place.setting_up():
        place.write("one", b"1")


def test_a_folder_that_may_not_be_written_to_is_one_line_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Storage(str(tmp_path / "blobs"), {}, "blobs.url")
    monkeypatch.setattr(os, "makedirs", _refused)
    with pytest.raises(ConfigurationError, match=r"blobs\.url.*Permission denied"), place.setting_up():
        place.create_folder("images")


def _refused(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")
