"""What all tests share: a real broker, and names of one's own on it.

`IMGDIFF_TEST_BOOTSTRAP=127.0.0.1:9092 pytest` uses a broker that runs already, which saves its start of about 3 s. Its
topics are not cleaned up: it should be one to throw away.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from ops.broker.local import LocalBroker

if TYPE_CHECKING:
    from tests.s3_server import Place, S3Server

JARS = Path(__file__).parent.parent / ".imgdiff" / "jars"
"""Downloaded once per checkout, and shared with `make demo`."""

_BOOTSTRAP_VARIABLE = "IMGDIFF_TEST_BOOTSTRAP"
_BOOTSTRAP = pytest.StashKey[str | None]()

_GUARD = """
import signal, sys
from pathlib import Path
from ops.broker.local import LocalBroker
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.stdin.read()
LocalBroker(Path(sys.argv[1])).stop()
"""


def pytest_configure(config: pytest.Config) -> None:
    """Takes our variables away: a developer's own settings must not change what the tests see.

    One thread for the arithmetic of each process: two processes with two threads each wait for one another on two cores.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    config.stash[_BOOTSTRAP] = os.environ.get(_BOOTSTRAP_VARIABLE)
    for name in [name for name in os.environ if name.startswith("IMGDIFF_")]:
        del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a broker is an integration test."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`bootstrap_servers` of a fresh broker, started when the first test asks for it."""
    running = pytestconfig.stash[_BOOTSTRAP]
    if running is not None:
        yield running
        return
    home = tmp_path_factory.mktemp("broker")
    with stopped_at_the_end(home):
        started = LocalBroker(home, jars=JARS).start(port=0)
        assert started.bootstrap_servers is not None
        yield started.bootstrap_servers


@pytest.fixture
def prefix() -> str:
    """A stream prefix that no other test has: topics, groups and transactional ids of its own."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def s3_server() -> Iterator["S3Server"]:
    """A real S3 over HTTP, started when the first test asks for it."""
    from tests.s3_server import S3Server

    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: "S3Server") -> "Place":
    """A place in a bucket of the test's own."""
    from tests.s3_server import Place

    return Place(f"s3://{s3_server.make_bucket()}/below", s3_server.options())


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> "Place":
    """Each kind of place that files may lie in: what holds for one holds for all."""
    from tests.s3_server import Place

    match request.param:
        case "folder":
            return Place(str(tmp_path / "place"))
        case "memory":
            return Place(f"memory://{uuid4().hex}")
        case _:
            found: Place = request.getfixturevalue("s3")
            return found


@contextmanager
def stopped_at_the_end(home: Path) -> Iterator[None]:
    """Stops the broker of `home` when the block ends, and also when this process is killed inside it: a second process
    waits for the end of its standard input, which only we hold open."""
    guard = subprocess.Popen([sys.executable, "-c", _GUARD, str(home)], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        guard.communicate()
