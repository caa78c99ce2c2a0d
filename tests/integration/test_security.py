"""The whole stream on a broker with certificates, passwords and access lists; and what a start without them says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.admin import ACLOperation, ResourceType

from common.kafka import Admin, Message, greet
from common.runtime.errors import BrokerUnreachableError, ConfigurationError
from common.settings import KafkaSettings, load_layers
from ops.cli.main import main
from schemas.topics import EDITS
from tests.integration.kit import ROOT, Stream
from tests.integration.secured_broker import (
    CERTIFIED_USER,
    PLAIN_PASSWORD,
    PLAIN_USER,
    Listener,
    Right,
    SecuredBroker,
    secured_broker,
)

USER = "stream"
PASSWORD = "stream-pass-0815"
STRANGER = "stranger"
EVERYTHING = "*"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        broker.add_user(USER, PASSWORD)
        broker.add_user(STRANGER, PASSWORD)
        yield broker


def rights(prefix: str) -> list[Right]:
    """What docs/security.md says that a stream needs."""
    topics, groups, ids = f"{prefix}.*", f"{prefix}.*", f"{prefix}.*"
    return [
        *(
            Right(operation, ResourceType.TOPIC, topics)
            for operation in (
                ACLOperation.READ,
                ACLOperation.WRITE,
                ACLOperation.CREATE,
                ACLOperation.DELETE,
                ACLOperation.DESCRIBE_CONFIGS,
            )
        ),
        Right(ACLOperation.READ, ResourceType.GROUP, groups),
        Right(ACLOperation.WRITE, ResourceType.TRANSACTIONAL_ID, ids),
    ]


class Commands:
    """What people type, and all that they have seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.seen = ""

    def run(self, stream: Stream, *arguments: str, code: int = 0) -> str:
        """Standard output, or standard error where it ends with another code than 0."""
        with self._monkeypatch.context() as patched:
            for name, value in stream.environ.items():
                patched.setenv(name, value)
            found = main(arguments)
        said = self._capsys.readouterr()
        self.seen += said.out + said.err
        assert found == code, said.err
        return said.err if code else said.out


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


def whole_way(stream: Stream, typed: Commands, secret: str) -> None:
    """Topics, ingest, a worker process, its dead letters and the funnel."""
    captions = stream.folder / "captions.txt"
    captions.write_text("A brown dog sits on the bench.\nA cat sleeps under the tree.\n")
    typed.run(stream, "topics", "create")
    typed.run(stream, "ingest", str(captions))
    topic = stream.names.topic("captions")
    stream.produce([Message(topic, b"k", b"no record", [("schema", b"captions/1")])])
    worker = stream.start("workers.edits")
    stream.settle("edits", "captions")
    assert worker.stop() == 0, worker.log
    funnel = json.loads(typed.run(stream, "status", "--json"))
    edits = next(each for each in funnel["workers"] if each["worker"] == "edits")
    assert edits["consumed"] == 3
    assert edits["failed"] == {"undecodable": 1}
    listed = [
        json.loads(line)
        for line in typed.run(stream, "dead-letters", "list", "--kind", "invalid", "--json").splitlines()
    ]
    assert [letter["reason"] for letter in listed] == ["undecodable"]
    assert secret not in typed.seen + worker.log
    recount = stream.recount(EDITS)
    assert recount.inputs == 3
    assert recount.counters == stream.counters("edits")


def test_the_stream_flows_over_tls_with_a_password_from_a_file_and_no_more_rights_than_it_needs(
    secured: SecuredBroker, prefix: str, tmp_path: Path, typed: Commands
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    environ = secured.login(USER, PASSWORD)
    del environ["IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD"]
    environ["IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD_FILE"] = str(file)
    secured.allow(USER, rights(prefix))
    stream = Stream("", prefix, tmp_path, environ=environ)
    try:
        whole_way(stream, typed, PASSWORD)
    finally:
        stream.end()


def other_ways(broker: SecuredBroker, way: str) -> dict[str, str]:
    match way:
        case "SSL":
            return broker.tls()
        case "client certificate":
            return broker.tls(Listener.MUTUAL) | {
                "IMGDIFF_KAFKA__SSL_CERTFILE": str(broker.client_certificate),
                "IMGDIFF_KAFKA__SSL_KEYFILE": str(broker.client_key),
            }
        case "PLAIN":
            return broker.login(PLAIN_USER, PLAIN_PASSWORD, "PLAIN")
        case "SASL_PLAINTEXT":
            return broker.login(USER, PASSWORD, "SCRAM-SHA-512") | {
                "IMGDIFF_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": broker.address(Listener.SASL_PLAINTEXT),
            }
    return broker.login(USER, PASSWORD, way)


@pytest.mark.long
@pytest.mark.parametrize("way", ["SSL", "client certificate", "PLAIN", "SCRAM-SHA-256", "SASL_PLAINTEXT"])
def test_every_way_to_connect_carries_the_stream(
    secured: SecuredBroker, prefix: str, tmp_path: Path, typed: Commands, way: str
) -> None:
    for user in (USER, PLAIN_USER, CERTIFIED_USER):
        secured.allow(user, rights(prefix))
    stream = Stream("", prefix, tmp_path, environ=other_ways(secured, way))
    try:
        whole_way(stream, typed, PLAIN_PASSWORD if way == "PLAIN" else PASSWORD)
    finally:
        stream.end()


def scram(broker: SecuredBroker, **changed: str) -> dict[str, str]:
    return broker.login(USER, PASSWORD) | {f"IMGDIFF_KAFKA__{name.upper()}": text for name, text in changed.items()}


def refusals(broker: SecuredBroker) -> dict[str, tuple[dict[str, str], str]]:
    """What is wrong, how, and the line that says so."""
    tls = broker.tls()
    cafile = "IMGDIFF_KAFKA__SSL_CAFILE"
    protocol = "IMGDIFF_KAFKA__SECURITY_PROTOCOL"
    return {
        "wrong password": (
            scram(broker, sasl_plain_password="wrong-pass"),
            "sasl_plain_password`: .* refuses user 'stream'",
        ),
        "wrong password, PLAIN": (
            broker.login(PLAIN_USER, "wrong-pass", "PLAIN"),
            "sasl_plain_password`: .* refuses user 'plain-user'",
        ),
        "unknown user": (broker.login("nobody", "wrong-pass"), "sasl_plain_password`: .* refuses user 'nobody'"),
        "no TLS but a mechanism": (
            scram(broker, bootstrap_servers=broker.address(Listener.SSL)),
            "sasl_mechanism`: .* does not take SCRAM-SHA-512",
        ),
        "another authority": (tls | {cafile: str(broker.stranger)}, "ssl_cafile`: .*stranger.pem did not sign"),
        "no authority": ({k: v for k, v in tls.items() if k != cafile}, "ssl_cafile`: .* the system's authorities"),
        "authority that is not there": (tls | {cafile: "/nowhere.pem"}, "ssl_cafile`: /nowhere.pem: No such file"),
        "authority that is none": (tls | {cafile: __file__}, "ssl_cafile`: .*: no PEM file"),
        "key that is none": (tls | {"IMGDIFF_KAFKA__SSL_CERTFILE": __file__}, "ssl_certfile`: .*: no PEM file"),
        "expired": (broker.tls(Listener.EXPIRED), "out of date, renew it there: certificate has expired"),
        "another host": (broker.tls(Listener.ELSEWHERE), "bootstrap_servers`: .* a certificate for another host"),
        "no client certificate": (broker.tls(Listener.MUTUAL), "ssl_certfile`: .* asks for a client's certificate"),
        "TLS where there is none": (
            tls | {"IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": broker.plaintext},
            "security_protocol`: .* answers without TLS, but the setting is SSL",
        ),
        "no TLS where there is": (
            tls | {protocol: "PLAINTEXT"},
            "security_protocol`: .* answers with TLS, but the setting is PLAINTEXT",
        ),
        "no login where one is asked for": (
            broker.tls(Listener.SASL_SSL),
            "security_protocol`: .* asks for a login, but the setting is SSL",
        ),
    }


def kafka_of(environ: dict[str, str]) -> KafkaSettings:
    return load_layers(environ).common().kafka


def test_what_the_cluster_refuses_is_told_by_the_setting_to_look_at(
    secured: SecuredBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.kafka.greeting.GREETING_PAUSE_S", 0.05)
    for what, (environ, expected) in refusals(secured).items():
        with pytest.raises(ConfigurationError, match=f"^setting `kafka.*{expected}") as caught:
            greet(kafka_of(environ))
        message = str(caught.value)
        assert not isinstance(caught.value, BrokerUnreachableError), what
        assert "\n" not in message, what
        assert "pass" not in message.replace("sasl_plain_password", "").replace("the password", ""), what


def test_one_server_of_several_is_enough(secured: SecuredBroker) -> None:
    good = secured.login(USER, PASSWORD)
    closed = good["IMGDIFF_KAFKA__BOOTSTRAP_SERVERS"]
    greet(kafka_of(good | {"IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:1,{closed}"}))


def test_a_name_is_not_checked_where_that_is_asked_for(secured: SecuredBroker) -> None:
    greet(kafka_of(secured.tls(Listener.ELSEWHERE) | {"IMGDIFF_KAFKA__SSL_CHECK_HOSTNAME": "false"}))


@pytest.mark.long
@pytest.mark.parametrize("what", ["wrong password", "another authority", "another host", "TLS where there is none"])
def test_a_refused_worker_ends_with_one_line(
    secured: SecuredBroker, prefix: str, tmp_path: Path, typed: Commands, what: str
) -> None:
    environ, _ = refusals(secured)[what]
    stream = Stream(
        "", prefix, tmp_path, environ=secured.tls() | {"IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": secured.plaintext}
    )
    stream.environ["IMGDIFF_KAFKA__SECURITY_PROTOCOL"] = "PLAINTEXT"
    stream.create()
    stream.environ |= environ
    try:
        worker = stream.start("workers.edits")
        assert worker.wait(60) == 78
        assert len(worker.lines("ERROR")) == 1
        assert worker.lines("ERROR")[0].startswith("start: setting `kafka.")
        assert not worker.strays, worker.log
        assert "wrong-pass" not in worker.log
    finally:
        stream.end()
    for arguments in (["topics", "create"], ["status"], ["dead-letters", "list"], ["ingest", str(ROOT / "README.md")]):
        error = typed.run(stream, *arguments, code=78)
        assert error.startswith("imgdiff: setting `kafka."), error
        assert error.count("\n") == 1
        assert "wrong-pass" not in error


@pytest.mark.long
def test_a_wrong_password_is_told_before_the_models_load(secured: SecuredBroker, prefix: str, tmp_path: Path) -> None:
    stream = Stream("", prefix, tmp_path, environ=secured.tls()).create()
    stream.environ |= secured.login(USER, "wrong-pass")
    try:
        worker = stream.start("tests.integration.probe", PROBE_BUILD_GATE=str(tmp_path / "never"))
        assert worker.wait(60) == 78
        (error,) = worker.lines("ERROR")
        assert error.startswith("start: setting `kafka.sasl_plain_password`")
    finally:
        stream.end()


MISSING = {
    "READ captions": (ACLOperation.READ, ResourceType.TOPIC, "captions"),
    "WRITE edits": (ACLOperation.WRITE, ResourceType.TOPIC, "edits"),
    "WRITE edits.failed": (ACLOperation.WRITE, ResourceType.TOPIC, "edits.failed"),
    "READ group": (ACLOperation.READ, ResourceType.GROUP, "edits"),
    "WRITE transactional id": (ACLOperation.WRITE, ResourceType.TRANSACTIONAL_ID, "edits.*"),
}


@pytest.mark.long
@pytest.mark.parametrize("missing", MISSING)
def test_a_right_that_is_missing_is_named_at_the_start(
    secured: SecuredBroker, prefix: str, tmp_path: Path, missing: str
) -> None:
    user = f"{prefix}-user"
    secured.add_user(user, PASSWORD)
    needed = [
        *MISSING.values(),
        (ACLOperation.WRITE, ResourceType.TOPIC, "edits.rejected"),
    ]
    secured.allow(
        user, [Right(o, kind, f"{prefix}.{name}") for o, kind, name in needed if (o, kind, name) != MISSING[missing]]
    )
    stream = Stream("", prefix, tmp_path, environ=secured.login(user, PASSWORD))
    secured.allow(USER, rights(prefix))
    maker = Stream("", prefix, tmp_path, environ=secured.login(USER, PASSWORD)).create()
    try:
        worker = stream.start("workers.edits")
        assert worker.wait(60) == 78, worker.log
        (error,) = worker.lines("ERROR")
        operation, _, what = missing.partition(" ")
        assert f"user '{user}' (setting `kafka.sasl_plain_username`) may not {operation} " in error
        assert what in error
        assert not worker.strays, worker.log
    finally:
        stream.end()
        maker.end()


@pytest.mark.long
def test_a_right_that_is_taken_away_ends_the_worker(secured: SecuredBroker, prefix: str, tmp_path: Path) -> None:
    """Tried again, it would work for nothing until somebody looks."""
    user = f"{prefix}-user"
    secured.add_user(user, PASSWORD)
    secured.allow(user, rights(prefix))
    stream = Stream("", prefix, tmp_path, environ=secured.login(user, PASSWORD)).create()
    try:
        worker = stream.start("workers.edits")
        stream.produce_captions(["A dog sits on the bench."])
        stream.settle("edits", "captions")
        secured.allow(user, [Right(ACLOperation.WRITE, ResourceType.TOPIC, f"{prefix}.captions")])
        secured.forbid(user, [Right(ACLOperation.WRITE, ResourceType.TOPIC, f"{prefix}.*")])
        stream.produce_captions(["A dog sits on the bench."], start=1)
        assert worker.wait(30) == 78, worker.log
        (error,) = worker.lines("ERROR")
        assert f"user '{user}' (setting `kafka.sasl_plain_username`) may not " in error
        assert f"{prefix}.edits" in error
    finally:
        stream.end()


def test_a_command_without_rights_never_says_that_there_is_nothing(
    secured: SecuredBroker, prefix: str, tmp_path: Path, typed: Commands
) -> None:
    stream = Stream("", prefix, tmp_path, environ=secured.tls()).create()
    stream.environ |= secured.login(STRANGER, PASSWORD)
    (tmp_path / "captions.txt").write_text("A dog.\n")
    for arguments in (
        ["status"],
        ["dead-letters", "list"],
        ["dead-letters", "replay", "--stage", "edits"],
        ["ingest", str(tmp_path / "captions.txt")],
        ["blobs", "gc", "--dry-run"],
    ):
        error = typed.run(stream, *arguments, code=78)
        assert "user 'stranger' (setting `kafka.sasl_plain_username`) may not " in error, arguments
        assert error.count("\n") == 1


def test_who_may_nothing_is_told_what_is_missing(secured: SecuredBroker, prefix: str) -> None:
    with Admin(kafka_of(secured.login(STRANGER, PASSWORD))) as admin:
        with pytest.raises(
            ConfigurationError, match=rf"'stranger' .* may not READ topic {prefix}\.captions, READ group g;"
        ):
            admin.require_rights({f"{prefix}.captions": "READ"}, "g")
        with pytest.raises(ConfigurationError, match=r"'stranger' .* may not do this"):
            admin.group_offsets(["g"])
