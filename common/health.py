"""Whether a worker is alive and ready, and the HTTP server that says so."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from common.runtime.errors import ConfigurationError
from common.secrets import SECRETS
from common.settings import HttpSettings
from common.terminal import escape


@dataclass(frozen=True, slots=True)
class Stuck:
    """A thread that is over its limit."""

    thread: str
    seconds: float
    limit_s: float

    def __str__(self) -> str:
        return f"thread {self.thread} has not moved for {self.seconds:.0f} s (limit {self.limit_s:.0f} s)"


class Health:
    """What the probes answer. Thread-safe.

    Alive: every thread has moved within its own limit. Ready: models loaded, group joined, nothing being retried, not
    draining. A broker or store that is down makes a worker unready, never dead: a restart would not help.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[str, float] = {}
        self._busy: dict[tuple[str, int], float] = {}
        """Since when, by role and thread. Who waits for work is not in it: that is no sign of trouble."""
        self._retries: dict[int, str] = {}
        self._waits: dict[str, str] = {"start": "starting"}

    def watch(self, thread: str, limit_s: float) -> None:
        """Expect this thread, or each of a pool of that name, to finish each piece of work within `limit_s`."""
        self._limits[thread] = limit_s

    def busy(self, thread: str) -> None:
        """The calling thread begins a piece of work in this role."""
        self._busy[thread, threading.get_ident()] = time.monotonic()

    def idle(self, thread: str) -> None:
        """It has finished it."""
        self._busy.pop((thread, threading.get_ident()), None)

    @contextmanager
    def at(self, work: str, *, instead_of: str) -> Iterator[None]:
        """A piece of work that is watched under a role of its own, which has another limit than the calling thread's."""
        self.idle(instead_of)
        self.busy(work)
        try:
            yield
        finally:
            self.idle(work)
            self.busy(instead_of)

    def start_over(self) -> None:
        """Give everybody the whole limit again: something that all have waited for is back."""
        now = time.monotonic()
        for key in list(self._busy):
            if key in self._busy:
                self._busy[key] = now

    def stuck(self) -> Stuck | None:
        """A thread that is over its limit, or None.

        While something unreachable is being retried nobody counts as stuck: threads wait for each other.
        """
        if self._retries:
            return None
        now = time.monotonic()
        for (name, _), since in list(self._busy.items()):
            limit_s = self._limits.get(name)
            if limit_s is not None and now - since > limit_s:
                return Stuck(name, now - since, limit_s)
        return None

    def waiting(self, cause: str, why: str) -> None:
        """Not ready because of `cause`, until `resumed`."""
        with self._lock:
            self._waits[cause] = why

    def resumed(self, cause: str) -> None:
        with self._lock:
            self._waits.pop(cause, None)

    def retrying(self, thread: int, what: str) -> None:
        """A thread waits for something that is unreachable."""
        with self._lock:
            self._retries[thread] = what

    def recovered(self, thread: int) -> None:
        with self._lock:
            if self._retries.pop(thread, None) is None or self._retries:
                return
        self.start_over()

    def unready(self) -> list[str]:
        """Why the worker is not ready; empty when it is."""
        with self._lock:
            return [*self._waits.values(), *self._retries.values()]


StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class HealthServer:
    """Answers /metrics, /livez and /readyz on a thread of its own."""

    def __init__(self, settings: HttpSettings, health: Health, registry: CollectorRegistry) -> None:
        """Raises ConfigurationError when the port is taken."""
        self._health = health
        self._metrics = make_wsgi_app(registry)
        try:
            self._server = make_server(
                settings.host, settings.port, self._answer, server_class=_Server, handler_class=_QuietHandler
            )
        except OSError as error:
            raise ConfigurationError(
                f"setting `http.port`: {settings.host}:{settings.port} can not be listened on: {error.strerror}"
            ) from error
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def __enter__(self) -> "HealthServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                body: Iterable[bytes] = self._metrics(environ, start_response)
                return body
            case "/livez":
                stuck = self._health.stuck()
                return _plain(start_response, [str(stuck)] if stuck else [])
            case "/readyz":
                return _plain(start_response, self._health.unready())
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /livez or /readyz\n"]


def _plain(start_response: StartResponse, problems: list[str]) -> list[bytes]:
    status = "503 Service Unavailable" if problems else "200 OK"
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    said = [escape(SECRETS.hidden_in(problem)) for problem in problems]
    return ["\n".join([*said, ""]).encode() if said else b"ok\n"]


class _Server(ThreadingMixIn, WSGIServer):
    """One thread per request: a client that connects and says nothing must not keep the probes waiting."""

    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    """Probes every few seconds are not worth a log line."""

    def log_message(self, format: str, *args: Any) -> None:
        pass
