"""The local broker as a process: it starts, serves, keeps its data, and goes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.kafka import Admin, KafkaError, Message, TopicConfig, TransactionalProducer, read_to_end
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings
from ops.broker import network
from ops.broker.local import BrokerStatus, LocalBroker
from tests.conftest import JARS, stopped_at_the_end
from tests.ops.recorder import Recorder

CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.integration


@pytest.fixture
def report() -> Recorder:
    return Recorder()


@pytest.fixture
def local(tmp_path: Path, report: Recorder) -> Iterator[LocalBroker]:
    """A broker that is not running, in a folder whose name has everything that names may have."""
    home = tmp_path / "my, files=ü 100%"
    with stopped_at_the_end(home):
        yield LocalBroker(home, jars=JARS, report=report)


def settings_of(status: BrokerStatus) -> KafkaSettings:
    assert status.bootstrap_servers is not None
    return KafkaSettings(bootstrap_servers=status.bootstrap_servers)


def port_of(status: BrokerStatus) -> int:
    return int(settings_of(status).bootstrap_servers.split(":")[1])


def write(settings: KafkaSettings, topic: str, value: bytes) -> None:
    producer = TransactionalProducer(settings, f"{topic}.writer", transaction_timeout_s=10)
    try:
        producer.begin()
        producer.send(Message(topic, key=b"k", value=value, headers=()))
        producer.commit()
    finally:
        producer.close()


def values(settings: KafkaSettings, topic: str) -> list[bytes | None]:
    return [record.value for record in read_to_end(settings, [topic])]


@pytest.mark.long
def test_data_survive_a_restart_and_a_crash(local: LocalBroker, prefix: str) -> None:
    topic = f"{prefix}.captions"
    first = local.start(port=0)
    with Admin(settings_of(first)) as admin:
        admin.create_topics([TopicConfig(topic, 2, 1, {"max.message.bytes": "4194304"})])
    write(settings_of(first), topic, b"before the restart" + bytes(3_000_000))
    assert local.stop() == BrokerStatus(running=False, bootstrap_servers=None, pid=None, data=local.data)

    second = local.start(port=0)
    assert second.pid != first.pid
    write(settings_of(second), topic, b"before the crash")
    assert second.pid is not None
    os.kill(second.pid, signal.SIGKILL)

    third = settings_of(local.start(port=0))
    assert third == settings_of(second)
    # A commit is answered before its markers are written: a crash may leave them to the next start.
    deadline = time.monotonic() + 30
    while len(found := values(third, topic)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [value[:18] for value in found if value is not None] == [b"before the restart", b"before the crash"]


def test_start_twice_is_one_broker_on_this_machine_alone(local: LocalBroker, report: Recorder) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = (job.result() for job in [pool.submit(local.start, 0), pool.submit(local.start, 0)])
    assert first == second == local.status()
    port = port_of(first)
    assert local.start(port) == first
    assert report.lines.count(f"already running on port {port}") == 2
    with pytest.raises(ConfigurationError, match=f"runs on port {port}, not 9; stop it first"):
        local.start(9)
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0


@pytest.mark.long
def test_it_goes_on_without_the_command_that_started_it(tmp_path: Path) -> None:
    """As a user runs it: each command is a process, and standard output is JSON alone."""
    (tmp_path / ".imgdiff").mkdir()
    JARS.mkdir(parents=True, exist_ok=True)
    (tmp_path / ".imgdiff" / "jars").symlink_to(JARS)

    def imgdiff(*arguments: str) -> str:
        command = [
            sys.executable,
            "-c",
            "import sys; from ops.cli.main import main; sys.exit(main())",
            "broker",
            *arguments,
        ]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120).stdout

    stopped = {"running": False, "bootstrap_servers": None, "pid": None, "data": str(tmp_path / ".imgdiff/broker/data")}
    with stopped_at_the_end(tmp_path / ".imgdiff"):
        assert json.loads(imgdiff("status", "--json")) == stopped
        started = json.loads(imgdiff("start", "--port", "0", "--json"))
        assert started == {**stopped, "running": True, "pid": started["pid"], "bootstrap_servers": any_address(started)}
        assert json.loads(imgdiff("status", "--json")) == started
        assert f"running at {started['bootstrap_servers']}, process {started['pid']}" in imgdiff("status")
        assert os.getsid(started["pid"]) == started["pid"]
        assert imgdiff("stop") == f"stopped; data in {stopped['data']}\n"
        assert imgdiff("stop") == f"not running; data in {stopped['data']}\n"
        assert json.loads(imgdiff("status", "--json")) == stopped


def any_address(status: dict[str, str]) -> str:
    host, port = status["bootstrap_servers"].split(":")
    assert host == "127.0.0.1"
    assert network.answers(int(port))
    return status["bootstrap_servers"]


def test_a_broker_that_does_not_stop_is_killed(
    local: LocalBroker, report: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = local.start(port=0).pid
    assert pid is not None
    monkeypatch.setattr("ops.broker.local.STOP_S", 0.3)
    os.kill(pid, signal.SIGSTOP)
    assert not local.stop().running
    assert f"process {pid} did not stop within 0 s and was killed" in report.lines


@pytest.mark.long
def test_a_port_taken_between_our_look_and_its_start_is_no_matter(
    local: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        any_free = network.any_free
        monkeypatch.setattr(network, "any_free", lambda: next(ports, None) or any_free())
        assert local.start(port=0).running


def test_a_start_that_is_interrupted_leaves_no_process_and_the_next_says_what_is_wrong(
    local: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []

    def interrupt(port: int) -> bool:
        seen.append(local.status().pid)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(network, "answers", interrupt)
        with pytest.raises(KeyboardInterrupt):
            local.start(port=0)
    assert seen[0] is not None
    assert not local.status().running

    meta = local.data / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=2"))
    with pytest.raises(ConfigurationError, match=r"^Apache Kafka 4\.3\.1 did not start: .*node.* \(.*broker\.log\)$"):
        local.start(port=0)
    assert not local.status().running


def test_the_shared_broker_is_there(broker: str, prefix: str) -> None:
    with Admin(KafkaSettings(bootstrap_servers=broker)) as admin:
        admin.create_topics([TopicConfig(f"{prefix}.captions", 1, 1, {})])
        assert admin.partition_counts()[f"{prefix}.captions"] == 1
        assert admin.broker_config("offsets.retention.minutes") == "525600"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (TopicConfig("a", 1, 3, {}), r"setting `topics\.replication_factor`: found 3, the cluster has 1 broker"),
        (
            TopicConfig("a", 1, 1, {"retention.ms": "soon"}),
            r"topic a was not created: INVALID_CONFIG: .*retention\.ms.*",
        ),
        (TopicConfig("a b", 1, 1, {}), r"topic a b was not created: INVALID_TOPIC: .*"),
    ],
)
def test_a_topic_that_the_cluster_refuses_is_one_clear_line(broker: str, wrong: TopicConfig, said: str) -> None:
    with Admin(KafkaSettings(bootstrap_servers=broker)) as admin:
        with pytest.raises(ConfigurationError, match=rf"^{said}$") as caught:
            admin.create_topics([wrong])
        assert len(str(caught.value)) < 400


def test_a_topic_that_is_there_is_not_created_again(broker: str, prefix: str) -> None:
    topic = TopicConfig(f"{prefix}.captions", 1, 1, {})
    with Admin(KafkaSettings(bootstrap_servers=broker)) as admin:
        admin.create_topics([topic])
        with pytest.raises(KafkaError, match=f"topic {prefix}.captions was not created: TOPIC_ALREADY_EXISTS: "):
            admin.create_topics([topic])
