"""A real S3 over HTTP in this process (moto), with the faults that a store has: slow, busy, refusing, gone.

The faults are answers of the HTTP server in front of moto's application, in S3's own words.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

KEY = "imgdiff-tests"
SECRET = "a-secret-of-the-tests"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Fault = Callable[[Environ], "Answer | None"]
"""What a request meets before the store sees it: an answer, or None to let it through, perhaps later."""

_KEY_IN_HEADER = re.compile(r"Credential=([^/]+)/")


@dataclass(frozen=True)
class Answer:
    """An error as S3 says it."""

    status: str
    code: str
    message: str

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        start_response(self.status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body.encode()]


SLOW_DOWN = Answer("503 Service Unavailable", "SlowDown", "Please reduce your request rate.")
DENIED = Answer("403 Forbidden", "AccessDenied", "Access Denied")
UNKNOWN_KEY = Answer("403 Forbidden", "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist.")


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object, **__: object) -> None:
        """A line per request would drown the tests' own output."""


@dataclass
class S3Server:
    """`fault` is asked before every request; `requests` are those that were let through, as `METHOD /path`."""

    fault: Fault | None = None
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = self._serve(0)
        self.port = self._server.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def options(self, **more: Any) -> dict[str, Any]:
        """What a user writes into `blobs.options`."""
        return {"endpoint_url": self.url, "key": KEY, "secret": SECRET, **more}

    def client(self) -> Any:
        """Amazon's own client, to look at what lies in the store."""
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )

    def make_bucket(self) -> str:
        name = f"test-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def remove_bucket(self, name: str) -> None:
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for entry in page.get("Contents", ()):
                client.delete_object(Bucket=name, Key=entry["Key"])
        client.delete_bucket(Bucket=name)

    @contextmanager
    def meeting(self, fault: Fault) -> Iterator[None]:
        """Every request in this block meets the fault."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens in this block."""
        self.stop()
        try:
            yield
        finally:
            self._server = self._serve(self.port)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, port: int) -> BaseWSGIServer:
        server = make_server("127.0.0.1", port, self._answer, threaded=True, request_handler=_Quiet)
        threading.Thread(target=server.serve_forever, name="s3", daemon=True).start()
        return server

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        fault = self.fault
        answer = fault(environ) if fault is not None else None
        key = _KEY_IN_HEADER.search(environ.get("HTTP_AUTHORIZATION", ""))
        if answer is None and (key is None or key[1] != KEY):
            answer = UNKNOWN_KEY
        if answer is not None:
            return answer(environ, start_response)
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        return self._moto(environ, start_response)  # type: ignore[no-any-return]


def always(answer: Answer) -> Fault:
    return lambda _: answer


@dataclass(frozen=True)
class Place:
    """Where files may lie, as a user sets it."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_settings(self) -> dict[str, str]:
        """Pictures and dataset of a stream in this place, as environment variables."""
        options = json.dumps(self.options)
        return {
            "IMGDIFF_BLOBS__URL": f"{self.url}/blobs",
            "IMGDIFF_BLOBS__OPTIONS": options,
            "IMGDIFF_DATASET__URL": f"{self.url}/dataset",
            "IMGDIFF_DATASET__OPTIONS": options,
        }
