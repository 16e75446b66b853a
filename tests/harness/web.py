"""A small real HTTP server on loopback that behaves like the third-party APIs of the guide, and badly when asked to.

    /items?page=N&per_page=M         a page of `items`: {"items", "has_more"}
    /batch?token=T                   the same by continuation token: {"items", "next_token"}
    /endless?page=N&of=NAME          a page of five items; there are more until `finish()` is called
    /users/ID                        a large record, of which little is needed
    /one/NAME                        {"name"}; with `hold()` only once `together` requests wait here at the same time
    /flaky/NAME?failures=N&status=S  answers S (503) to the first N requests of NAME, then {"ok": true}
    /silent                          answers only when the server ends
    /large?bytes=N                   N bytes
Everything that was asked is in `requests`. Every answer also has the `headers`.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PER_PAGE = 50


@dataclass(frozen=True)
class Asked:
    """A request that the server was sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """The server, to a test."""

    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Asked] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    meeting: threading.Barrier | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    ending: threading.Event = field(default_factory=threading.Event)

    def holds(self, count: int) -> None:
        """Serve `count` items."""
        self.items = [{"id": number, "title": f"Item {number}", "body": f"Body {number}"} for number in range(1, count + 1)]

    def hold(self, together: int) -> None:
        """Let `/one/…` answer only when that many requests are being made at the same time."""
        self.meeting = threading.Barrier(together)

    def finish(self) -> None:
        """Let the next page of `/endless` be the last."""
        self.finished.set()

    def visit(self, path: str) -> None:
        """Make a request of the test's own."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30):
            return

    def asked(self, path: str) -> list[Asked]:
        """Return the requests for a path, in the order in which they came."""
        return [asked for asked in self.requests if asked.path == path]

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """Return the status and JSON (or bytes) for a request."""
        head, _, rest = asked.path.strip("/").partition("/")
        match head:
            case "items":
                return self._page(asked.query)
            case "batch":
                return self._batch(asked.query)
            case "endless":
                return self._endless(asked.query)
            case "users":
                return 200, user(rest)
            case "one":
                return self._one(rest)
            case "flaky":
                return self._flaky(rest, asked.query)
            case "silent":
                self.ending.wait(60)
                return 503, {}
            case "large":
                return 200, b"x" * int(asked.query["bytes"])
            case _:
                return 404, {"error": f"there is no {asked.path}"}

    def _page(self, query: dict[str, str]) -> tuple[int, Any]:
        page, size = int(query.get("page", "1")), int(query.get("per_page", str(PER_PAGE)))
        if self._fails(f"page {page}"):
            return 500, {"error": "not now"}
        return 200, {"items": self.items[(page - 1) * size : page * size], "has_more": page * size < len(self.items)}

    def _batch(self, query: dict[str, str]) -> tuple[int, Any]:
        start = int(query.get("token", "t0")[1:])
        after = start + PER_PAGE
        return 200, {"items": self.items[start:after], "next_token": f"t{after}" if after < len(self.items) else None}

    def _endless(self, query: dict[str, str]) -> tuple[int, Any]:
        names = [f"{query['of']}.{query['page']}.{number}" for number in range(5)]
        return 200, {"items": names, "has_more": not self.finished.is_set()}

    def _one(self, name: str) -> tuple[int, Any]:
        if self.meeting is not None:
            try:
                self.meeting.wait(10)
            except threading.BrokenBarrierError:
                return 503, {"error": "the others did not come"}
        return 200, {"name": name}

    def _flaky(self, name: str, query: dict[str, str]) -> tuple[int, Any]:
        self.failures.setdefault(name, int(query.get("failures", "0")))
        return (int(query.get("status", "503")), {"error": "not now"}) if self._fails(name) else (200, {"ok": True})

    def _fails(self, name: str) -> bool:
        """Whether this request is to fail; each that does is one fewer to come."""
        self.failures[name] -= 1
        return self.failures[name] >= 0


def user(name: str) -> dict[str, Any]:
    """Return a record with two useful fields and 200 kB of others."""
    return {"id": name, "name": f"User {name}", "email": f"{name}@example.com", "biography": "na " * 70_000}


@contextmanager
def serving() -> Iterator[Web]:
    """Serve on a free port of loopback for as long as the block runs."""
    web = Web()

    class Handler(_Handler):
        asked_of = web

    server = _Server(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed breaks its connection; that is what some tests are for."""


class _Handler(BaseHTTPRequestHandler):
    asked_of: Web
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Note the request and answer it."""
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = Asked(self.command, parts.path, query, {name.lower(): value for name, value in self.headers.items()}, body)
        self.asked_of.requests.append(asked)
        status, content = self.asked_of.answer(asked)
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/octet-stream" if isinstance(content, bytes) else "application/json")
        self.send_header("content-length", str(len(payload)))
        for name, value in self.asked_of.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 — named by http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — named by http.server
        """Say nothing."""
