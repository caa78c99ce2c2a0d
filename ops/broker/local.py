"""A local Apache Kafka: one node, in the background, with nothing installed beforehand."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.runtime.deadline import Deadline
from common.runtime.errors import ConfigurationError
from ops.broker import network, process
from ops.broker.files import MIB, exclusive, require_free
from ops.broker.jars import JarCache, locked_jars
from ops.broker.kafka import DATA, LOG, Kafka
from ops.broker.report import Report, StderrReport

HOME = Path(".imgdiff")
"""Where everything that this program keeps on a machine lies, relative to the working directory."""

MIN_FREE_BYTES = 256 * MIB
"""Room for the start and a few thousand records. A Kafka whose disk is full stops at once, so it does not start either."""

START_S = 60.0
"""A start takes 2 to 3 s; this is for a machine under load."""

STOP_S = 20.0
"""A stop takes 0.3 s, some seconds with thousands of partitions."""

RECOVERY_S = 15.0
"""A recovery takes 3 s; when there was nothing to recover it says nothing, and this time passes."""

_ATTEMPTS = 3
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """Whether the broker runs. `bootstrap_servers` and `pid` are None where it does not."""

    running: bool
    bootstrap_servers: str | None
    pid: int | None
    data: Path

    def to_json(self) -> dict[str, Any]:
        return {
            "running": self.running,
            "bootstrap_servers": self.bootstrap_servers,
            "pid": self.pid,
            "data": str(self.data),
        }


@dataclass(frozen=True, slots=True)
class _Running:
    """What the state file holds."""

    pid: int
    port: int


class LocalBroker:
    """The broker of one folder, `home/broker`. It goes on running when the Python process ends.

    `jars` is where Kafka's files are kept, by default `home/jars`; brokers may share it. `repositories` as in JarCache.
    Every method may be called from several processes at once, and raises ConfigurationError where this machine, not the
    program, is the reason.
    """

    def __init__(
        self,
        home: Path = HOME,
        *,
        jars: Path | None = None,
        report: Report | None = None,
        repositories: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = home.resolve() / "broker"
        self._report = report or StderrReport()
        self._jars = JarCache((jars or home / "jars").resolve(), self._report, repositories)
        self._state = self._folder / "broker.json"
        self._mark = f"-Dimgdiff.broker={self._folder}"

    @property
    def data(self) -> Path:
        """Where Kafka keeps its records."""
        return self._folder / DATA

    @property
    def log(self) -> Path:
        """What Kafka prints: warnings and errors since its last start."""
        return self._folder / LOG

    def start(self, port: int | None = None) -> BrokerStatus:
        """Starts the broker unless it runs already, and waits until it answers.

        Without `port` it takes the one it had last, else 9092, else the next free one. Port 0 means the one it had
        last, else any that is free.
        """
        with self._locked():
            running = self._running()
            if running is not None and port not in {None, 0, running.port}:
                raise ConfigurationError(
                    f"the broker of {self._folder} runs on port {running.port}, not {port}; stop it first"
                )
            if running is not None and self._ready(running):
                self._report.say(f"already running on port {running.port}")
            else:
                running = self._start(port)
        return self._status(running)

    def stop(self) -> BrokerStatus:
        """Stops the broker if it runs. Its data stay."""
        if self._folder.exists():
            with self._locked():
                running = self._running()
                if running is not None and not process.end(running.pid, self._mark, STOP_S):
                    self._report.say(f"process {running.pid} did not stop within {STOP_S:.0f} s and was killed")
        return self._status(None)

    def status(self) -> BrokerStatus:
        """Whether the broker runs now, possibly still starting."""
        return self._status(self._running())

    def _status(self, running: _Running | None) -> BrokerStatus:
        if running is None:
            return BrokerStatus(False, None, None, self.data)
        return BrokerStatus(True, f"{network.HOST}:{running.port}", running.pid, self.data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with exclusive(self._folder / ".lock", self._report):
                yield
        except OSError as error:
            where = error.filename or self._folder
            raise ConfigurationError(f"broker folder {where}: {error.strerror or error}") from error

    def _running(self) -> _Running | None:
        last = self._last()
        return last if last is not None and process.has_argument(last.pid, self._mark) else None

    def _last(self) -> _Running | None:
        """The last start that got as far as a process, whatever became of it."""
        try:
            return _Running(**json.loads(self._state.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{self._state}: expected {{pid, port}}: {error}; delete it") from error

    def _start(self, port: int | None) -> _Running:
        require_free(self._folder, MIN_FREE_BYTES, "the local broker")
        chosen = self._choose(port)
        kafka = Kafka(process.java(), self._jars.ensure(locked_jars()), self._folder, self._mark)
        if not kafka.is_formatted():
            kafka.format()
        elif not kafka.was_stopped_in_order():
            self._report.say("the broker was not stopped in order: recovering its data")
            self._recover(kafka)
        for _ in range(_ATTEMPTS):
            running = _Running(kafka.launch_broker(chosen, network.any_free()), chosen)
            with self._ended_on_failure(running):
                if self._ready(running):
                    return running
            if not kafka.found_port_taken():
                break
            # Somebody took a port between our look and its start.
            chosen = self._choose(port)
        raise ConfigurationError(kafka.why())

    def _recover(self, kafka: Kafka) -> None:
        last = self._last()
        # The port is the broker's, for its next start.
        port = last.port if last is not None else network.DEFAULT_PORT
        running = _Running(kafka.launch_recovery(network.any_free()), port)
        with self._ended_on_failure(running):
            deadline = Deadline(RECOVERY_S)
            while not (kafka.has_recovered() or deadline.expired):
                if not process.has_argument(running.pid, self._mark):
                    raise ConfigurationError(kafka.why())
                time.sleep(_POLL_S)
        process.end(running.pid, self._mark, STOP_S)

    @contextmanager
    def _ended_on_failure(self, running: _Running) -> Iterator[None]:
        try:
            self._remember(running)
            yield
        except BaseException:
            process.end(running.pid, self._mark, STOP_S)
            raise

    def _choose(self, port: int | None) -> int:
        if port:
            if not network.is_free(port):
                raise ConfigurationError(f"port {port} is taken; name another, or none to get a free one")
            return port
        # After a crash Kafka goes on asking its former address to complete the transactions that were committed last,
        # and never completes them if it now has another (seen in 4.3.1).
        last = self._last()
        if last is not None and network.is_free(last.port):
            return last.port
        if port == 0:
            return network.any_free()
        chosen = network.first_free(network.DEFAULT_PORT)
        wanted = last.port if last is not None else network.DEFAULT_PORT
        if chosen != wanted:
            self._report.say(f"port {wanted} is taken: using {chosen}")
        return chosen

    def _remember(self, running: _Running) -> None:
        aside = self._state.with_suffix(".new")
        aside.write_text(json.dumps({"pid": running.pid, "port": running.port}))
        aside.replace(self._state)

    def _ready(self, running: _Running) -> bool:
        """True once the broker answers, False if it died. Raises ConfigurationError after START_S."""
        deadline = Deadline(START_S)
        while not deadline.expired:
            if not process.has_argument(running.pid, self._mark):
                return False
            if network.answers(running.port):
                return True
            time.sleep(_POLL_S)
        raise ConfigurationError(f"the broker does not answer on port {running.port} after {START_S:.0f} s: {self.log}")
