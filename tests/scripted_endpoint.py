"""A small OpenAI-compatible server on 127.0.0.1 that answers as a test says, over real connections."""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

Body = Mapping[str, Any]

TRICKLE_S = 0.05
"""Between two pieces of what says nothing."""


@dataclass(frozen=True)
class Answer:
    """What comes back, and how long that takes."""

    status: int = 200
    body: Any = None
    """Sent as JSON; bytes as they are."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    hangs_up: bool = False
    """Close the connection in place of an answer."""
    trickles: Literal["head", "body"] | None = None
    """While it takes that long, keep something coming that says nothing: header lines, or blank lines before the JSON."""


def says(
    text: str | None, finish_reason: str | None = "stop", fingerprint: str | None = None, delay_s: float = 0.0
) -> Answer:
    """A completion as vLLM sends it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    completion = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, "system_fingerprint": fingerprint,
    }  # fmt: skip
    return Answer(body=completion, delay_s=delay_s)


def fails(status: int, message: str = "as scripted", **headers: str) -> Answer:
    """An error as vLLM sends it."""
    body = {"error": {"message": message, "type": "Scripted", "param": None, "code": status}}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def user_text(body: Body) -> str:
    """What the user says in a request: the text, or the text part beside a picture."""
    content = body["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[-1]["text"])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """Of connections that arrive at once. One beyond them would only come in at its second try, a second later."""


class ScriptedEndpoint:
    """Answers chat requests with what `reply` makes of them: an answer, or a text that is said.

    Requests for one token are the adapters' first ones: they get `first`. Where there is a `key`, others are refused.
    """

    def __init__(
        self,
        reply: Callable[[Body], Answer | str | None],
        *,
        models: Sequence[str] = ("tiny",),
        key: str | None = None,
        first: Answer | None = None,
        model_list: Answer | None = None,
        port: int = 0,
    ) -> None:
        self.reply = reply
        self.key = key
        self.requests: list[Body] = []
        self.keys: list[str] = []
        self.most_at_once = 0
        self._models = model_list or Answer(body={"object": "list", "data": [{"id": name} for name in models]})
        self._first = first or says("ok")
        self._at_once = 0
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        # Whoever kept a connection open would be served on.
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, path: str, key: str, body: Body | None) -> Answer:
        self.keys.append(key)
        if self.key is not None and key != self.key:
            return fails(401, f"Incorrect API key provided: {key}")
        if path == "/v1/models":
            return self._models
        if path != "/v1/chat/completions" or body is None:
            return fails(404, f"no such path: {path}")
        if body["max_tokens"] == 1:
            return self._first
        with self._lock:
            self.requests.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            made = self.reply(body)
            answer = made if isinstance(made, Answer) else says(made)
            time.sleep(0.0 if answer.trickles else answer.delay_s)
            return answer
        finally:
            with self._lock:
                self._at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                endpoint._connections.add(self.connection)

            def finish(self) -> None:
                endpoint._connections.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                self._send(endpoint._answer(self.path, self._key, None))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(endpoint._answer(self.path, self._key, body))

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

            @property
            def _key(self) -> str:
                return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")

            def _send(self, answer: Answer) -> None:
                if answer.hangs_up:
                    self.close_connection = True
                    return
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                blanks = round(answer.delay_s / TRICKLE_S) if answer.trickles else 0
                self.send_header("Content-Length", str(len(data) + (blanks if answer.trickles == "body" else 0)))
                # Whoever does not wait for the rest closes the connection.
                with suppress(ConnectionError):
                    if answer.trickles == "head":
                        self._trickle(b"X-Wait: yes\r\n", blanks)
                    self.end_headers()
                    if answer.trickles == "body":
                        self._trickle(b"\n", blanks)
                    self.wfile.write(data)

            def _trickle(self, piece: bytes, times: int) -> None:
                self.flush_headers()
                for _ in range(times):
                    self.wfile.write(piece)
                    time.sleep(TRICKLE_S)

        return Handler
