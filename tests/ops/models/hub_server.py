"""A hub on 127.0.0.1: as much of its API as the real client asks for, and faults on demand."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".pt")
"""Files that the hub announces with their SHA-256; the others with the name that git gives them."""


def commit_of(files: Mapping[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@dataclass
class HubServer:
    """What it serves: `models` by id, `plain` files by path. `requests` are method, path and Range, in order."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cuts: dict[str, int] = field(default_factory=dict)
    """By file name: after how many bytes of an answer the connection ends, once."""
    forged: dict[str, bytes] = field(default_factory=dict)
    """By file name: other contents than announced."""
    tagged: bool = True
    """Whether plain files have an ETag."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def asked(self, method: str, ending: str) -> list[str | None]:
        """The ranges of the requests for a file."""
        return [range for how, path, range in self.requests if how == method and path.endswith(ending)]

    def files(self, id: str, revision: str) -> dict[str, bytes] | None:
        versions = [self.models[id], *self.tags.get(id, {}).values()]
        by_commit = {commit_of(files): files for files in versions}
        return self.models[id] if revision == "main" else self.tags.get(id, {}).get(revision, by_commit.get(revision))


@contextmanager
def serving() -> Iterator[HubServer]:
    hub = HubServer()

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.served.requests.append((self.command, path, self.headers.get("Range")))
        if path in self.served.plain:
            tag = f'"{hashlib.md5(self.served.plain[path]).hexdigest()}"'
            self._file(path, self.served.plain[path], {"ETag": tag} if self.served.tagged else {})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            self._api(*found.groups())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*found.groups())
        else:
            self._refuse(404, "EntryNotFound")

    def _api(self, id: str, what: str, revision: str) -> None:
        if id not in self.served.models:
            return self._refuse(401, "RepoNotFound")
        if id in self.served.gated:
            return self._refuse(403, "GatedRepo")
        files = self.served.files(id, revision)
        if files is None:
            return self._refuse(404, "RevisionNotFound")
        if what == "tree":
            return self._json([{"type": "file", "path": name, **_described(name, files[name])} for name in files])
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": _git_sha1(content),
                **(
                    {"lfs": {"size": len(content), "sha256": _sha256(content), "pointerSize": 1}} if large(name) else {}
                ),
            }
            for name, content in files.items()
        ]
        return self._json({"id": id, "sha": commit_of(files), "siblings": siblings})

    def _resolve(self, id: str, revision: str, name: str) -> None:
        files = self.served.files(id, revision) or {}
        if name not in files:
            return self._refuse(404, "EntryNotFound")
        announced = files[name]
        tag = _sha256(announced) if large(name) else _git_sha1(announced)
        headers = {"X-Repo-Commit": commit_of(files), "ETag": f'"{tag}"'}
        return self._file(name, self.served.forged.get(name, announced), headers)

    def _file(self, name: str, content: bytes, headers: Mapping[str, str]) -> None:
        start = 0
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted is not None and condition in {None, headers.get("ETag")}:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self._refuse(416, "")
        self.send_response(206 if start else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        cut = self.served.cuts.pop(name, None)
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])
        self.close_connection = cut is not None
        return None

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def large(name: str) -> bool:
    return name.endswith(LARGE)


def _described(name: str, content: bytes) -> dict[str, object]:
    described: dict[str, object] = {"size": len(content), "oid": _git_sha1(content)}
    if large(name):
        described["lfs"] = {"size": len(content), "oid": _sha256(content), "pointerSize": 1}
    return described


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
