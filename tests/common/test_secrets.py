"""Secrets come from files too, and nothing that a process writes down has them."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.health import Health, HealthServer
from common.kafka import ConsumedRecord, Partition
from common.logs import configure_logging
from common.runtime.delivery import DeadLetterWriter, Signature
from common.runtime.errors import ConfigurationError
from common.runtime.execution import error_info
from common.runtime.flight import Failed, Fetched
from common.secrets import HIDDEN, Secrets
from common.settings import CommonSettings, load_layers
from ops.cli.main import main
from ops.effective import effective_settings
from schemas.dead_letters import DeadLetter, DeadLetterKind, PoisonReason
from schemas.topics import EDITS, Names

PASSWORD = "IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD"
SECRET = 'o"pen/ses@me äö'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As an orchestrator mounts it."""
    path = tmp_path / "password"
    path.write_text(SECRET)
    return path


def password(common: CommonSettings) -> str | None:
    given = common.kafka.sasl_plain_password
    return None if given is None else given.get_secret_value()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_the_file_that_a_variable_names(file: Path, end: str) -> None:
    file.write_text(SECRET + end, newline="")
    layers = load_layers({f"{PASSWORD}_FILE": str(file)})
    assert password(layers.common()) == SECRET
    assert layers.origins["kafka.sasl_plain_password"] == f"environment {PASSWORD}_FILE"


def test_every_layer_may_name_a_file(file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[kafka]\nsasl_plain_password_file = {json.dumps(str(file))}\n")
    assert password(load_layers({}, settings).common()) == SECRET
    assert password(load_layers({PASSWORD: "later"}, settings).common()) == "later"
    assert (
        password(load_layers({PASSWORD: "before"}, None, [f"kafka.sasl_plain_password_file={file}"]).common()) == SECRET
    )
    options = load_layers({"IMGDIFF_BLOBS__OPTIONS": json.dumps({"key_file": str(file), "secret_file": str(file)})})
    assert options.common().blobs.options == {"key": SECRET, "secret": SECRET}


def test_files_of_what_is_no_secret_are_paths(tmp_path: Path) -> None:
    lock = load_layers({"IMGDIFF_WEIGHTS__LOCK_FILE": str(tmp_path / "absent")}).common().weights.lock_file
    assert lock == tmp_path / "absent"


def test_a_secret_file_that_can_not_be_read_is_named_without_what_is_in_it(tmp_path: Path) -> None:
    def refusal(content: bytes | None, **others: str) -> str:
        path = tmp_path / "secret"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            load_layers({f"{PASSWORD}_FILE": str(path)} | others)
        message = str(caught.value)
        assert f"{PASSWORD}_FILE" in message
        assert "hush" not in message
        return message

    assert "No such file" in refusal(None)
    assert "found nothing in it" in refusal(b"\n")
    assert "no text in UTF-8" in refusal(b"hush\xff")
    assert "expected at most 65536" in refusal(b"hush" * 20_000)
    assert "expected one of them" in refusal(b"hush", **{PASSWORD: "hush"})


def test_a_login_lacks_nothing() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_layers(
            {"IMGDIFF_KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "IMGDIFF_KAFKA__SASL_PLAIN_USERNAME": "me"}
        ).common()
    assert "needs `sasl_mechanism`, `sasl_plain_password`" in str(caught.value)


def test_secrets_are_hidden_however_they_are_spelt() -> None:
    secrets = Secrets()
    secrets.remember([SECRET, "longer-than-hush", "hush", "abc"])
    spelt = [SECRET, repr(SECRET), json.dumps(SECRET), "s3://me:o%22pen%2Fses%40me%20%C3%A4%C3%B6@store"]
    for text in spelt:
        assert "pen" not in secrets.hidden_in(text)
        assert HIDDEN in secrets.hidden_in(text)
    assert secrets.hidden_in("longer-than-hush") == HIDDEN, "the longest first, or its rest would show"
    assert secrets.hidden_in("abc") == "abc", "too short to be told from any text"


def test_what_settings_bring_is_known(file: Path) -> None:
    """Also in options, lists and addresses, which no type marks as secret."""
    environ = {
        f"{PASSWORD}_FILE": str(file),
        "IMGDIFF_BLOBS__URL": "s3://me:url-pass@store/bucket",
        "IMGDIFF_BLOBS__OPTIONS": json.dumps(
            {"key": "access-id", "client_kwargs": {"logins": [{"secret": "nested-pass"}, "http://you:list-pass@proxy"]}}
        ),
    }
    layers = load_layers(environ)
    shown = json.dumps([[each.key, each.value] for each in effective_settings(layers)])
    from common.secrets import SECRETS

    said = SECRETS.hidden_in(f"{SECRET} url-pass access-id nested-pass list-pass")
    for secret in ("ses@me", "url-pass", "access-id", "nested-pass", "list-pass"):
        assert secret not in shown
        assert secret not in said


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("edits")
    yield stream
    root.handlers[:], root.level = before


def test_a_log_line_has_no_secret_and_is_one_line(log: io.StringIO, file: Path) -> None:
    load_layers({f"{PASSWORD}_FILE": str(file)})
    try:
        raise OSError(f"login {SECRET!r}\x1b[2J failed")
    except OSError as error:
        logging.getLogger("x").warning(
            "no \x1b[31mstore\u202e: %s\n2026-01-01 00:00:00,000 ERROR forged", error, exc_info=error
        )
    text = log.getvalue()
    assert "ses@me" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    first, *traceback = text.splitlines()
    assert first.endswith(r"failed\n2026-01-01 00:00:00,000 ERROR forged")
    assert traceback[0] == "  Traceback (most recent call last):"


def test_a_dead_letter_has_no_secret(file: Path) -> None:
    load_layers({f"{PASSWORD}_FILE": str(file)})
    try:
        raise OSError(f"s3 refuses {SECRET}")
    except OSError as error:
        failed = Failed(DeadLetterKind.POISON, PoisonReason.EXCEPTION, detail=f"by {SECRET}", error=error_info(error))
    record = ConsumedRecord(Partition("imgdiff.captions", 0), 7, b"k", SECRET.encode(), (), 1.0)
    writer = DeadLetterWriter(EDITS, Names("imgdiff"), Signature("edits", "0.1.0", "0" * 12, ()))
    message = writer.message(Fetched(record, 1), failed)
    assert b"ses@me" not in b"".join(value for _, value in message.headers)
    letter = DeadLetter.parse(message.headers)
    assert letter.detail == f"by {HIDDEN}"
    assert letter.error is not None
    assert letter.error.message == f"s3 refuses {HIDDEN}"
    assert "OSError" in letter.error.traceback
    assert message.value == SECRET.encode(), "the input stays byte for byte"


def test_the_readiness_page_has_no_secret_and_no_escape_sequence(file: Path) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    from prometheus_client import CollectorRegistry

    from common.settings import HttpSettings

    load_layers({f"{PASSWORD}_FILE": str(file)})
    health = Health()
    health.waiting("store", f"store \x1b[2J at {SECRET} away")
    with (
        HealthServer(HttpSettings(), health, CollectorRegistry()) as server,
        pytest.raises(HTTPError) as answer,
    ):
        urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=5)
    page = answer.value.read().decode()
    assert rf"store \x1b[2J at {HIDDEN} away" in page


def test_a_commands_error_has_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(layers: object) -> None:
        raise ConfigurationError("ftp://me:url-pass@store is no store")

    monkeypatch.setenv("IMGDIFF_BLOBS__URL", "ftp://me:url-pass@store/bucket")
    monkeypatch.setattr("ops.effective.effective_settings", refuse)
    assert main(["settings"]) == 78
    assert capsys.readouterr().err == f"imgdiff: ftp://me:{HIDDEN}@store is no store\n"
