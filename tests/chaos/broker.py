"""The broker of a run: Kafka with one more address per stream, which the stream's proxy stands in front of."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from ops.broker import network
from ops.broker.local import LocalBroker
from ops.broker.network import HOST
from ops.broker.properties import server_properties
from tests.chaos.proxy import Proxy, ProxyLoop
from tests.conftest import JARS

START_S = 300.0
"""A machine that runs two dozen processes is slow to start one more."""

DEAD_S = 10.0
"""How long a process may take to be gone after SIGKILL."""


class ChaosBroker:
    """A broker and the proxies in front of it. Its faults hit all streams at once."""

    def __init__(self, home: Path, streams: int) -> None:
        """Starts nothing."""
        self._local = LocalBroker(home, jars=JARS)
        self._loop = ProxyLoop()
        self._behind = [network.any_free() for _ in range(streams)]
        self.proxies: Sequence[Proxy] = ()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Start it, with its proxies; its own address."""
        with (
            patch("ops.broker.kafka.server_properties", self._properties),
            patch("ops.broker.local.START_S", START_S),
            patch("ops.broker.local.RECOVERY_S", START_S),
        ):
            self.proxies = [Proxy(self._loop, network.any_free(), target) for target in self._behind]
            try:
                started = self._local.start(port=0)
                assert started.bootstrap_servers is not None
                yield started.bootstrap_servers
            finally:
                self._continue()
                self._local.stop()
                self._loop.end()

    def kill(self, away_s: float) -> None:
        """SIGKILL, and a new start after so long."""
        with self._refusing():
            pid = self._pid()
            os.kill(pid, signal.SIGKILL)
            _await_death(pid)
            time.sleep(away_s)
            self._local.start()

    def restart(self, away_s: float) -> None:
        """Stopped in order, and started again after so long."""
        with self._refusing():
            self._local.stop()
            time.sleep(away_s)
            self._local.start()

    def freeze(self, seconds: float) -> None:
        """SIGSTOP for so long: it takes connections, and answers nothing."""
        os.kill(self._pid(), signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self._continue()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Where nobody listens behind a proxy, nobody may seem to listen in front of it."""
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy.refusing())
            yield

    def _continue(self) -> None:
        pid = self._local.status().pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)

    def _pid(self) -> int:
        pid = self._local.status().pid
        assert pid is not None, "the broker does not run"
        return pid

    def _properties(self, port: int, controller_port: int) -> str:
        own = server_properties(port, controller_port)
        names = [f"STREAM{number}" for number in range(len(self._behind))]
        listeners = next(line for line in own.splitlines() if line.startswith("listeners="))
        behind = [f"{name}://{HOST}:{number}" for name, number in zip(names, self._behind, strict=True)]
        before = [f"{name}://{HOST}:{proxy.port}" for name, proxy in zip(names, self.proxies, strict=True)]
        lines = [
            # The last of two lines for one key holds.
            ",".join([listeners, *behind]),
            "advertised.listeners=" + ",".join([f"PLAINTEXT://{HOST}:{port}", *before]),
            "listener.security.protocol.map="
            + ",".join(f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names)),
        ]
        return own + "".join(f"{line}\n" for line in lines)


def _await_death(pid: int) -> None:
    """A process that we started ourselves stays a zombie until somebody asks for it; until then it holds its ports."""
    until = time.monotonic() + DEAD_S
    while time.monotonic() < until:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.02)
    raise TimeoutError(f"process {pid} lives {DEAD_S:.0f} s after SIGKILL")
