"""Requests as guests ask for them and answers as servers give them: judged, sent to a server that says anything, and read.

- A URL has one form, which is its own form, in ASCII; what matches no pattern is not sent.
- Whatever a server answers is an answer, or an error that guests know; a body is never larger than its bound.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from contextlib import suppress
from typing import Final

from ropewalk.egress.connections import Bounds
from ropewalk.egress.fetch import Asker, Fetcher
from ropewalk.egress.hops import Request, first_hop, redirected
from ropewalk.egress.patterns import BadPattern, parse_pattern
from ropewalk.egress.urls import BadUrl, Url, parse
from ropewalk.errors import RopewalkError
from ropewalk.wire.messages import Fetch
from tests.fuzz.choices import Choices
from tests.fuzz.messages import Tongue

BODY_LIMIT: Final = 100_000

_SCHEMES: Final = ["http://", "https://", "HTTP://", "//", "http:", "ftp://", ""]
_HOSTS: Final = ["api.example.com", "API.example.com.", "127.0.0.1", "0x7f.1", "[::1]", "[::ffff:1.2.3.4]", "éxample.com", "ａ.example.com",
                 "a@b", "x:80", "x:0", "x:65536", "1.2.3", "xn--a", "a..b", "", "*.example.com"]  # fmt: skip
_SEGMENTS: Final = ["", "v1", "..", ".", "%2e%2e", "%2E.", "%252e%252e", "..;x", "%2f", "\\", "%5c..", "%c0%ae", "\u2024\u2024", "é", "a b", "%", "%zz",
                    "~", "%7e", "*", "?q=1", "?", "#f", "x" * 300]  # fmt: skip
_PATTERNS: Final = [
    "*", "https://api.example.com/*", "https://api.example.com/v1/*", "http://*.example.com", "http://127.0.0.1/v1/*", "https://x/v1",
]  # fmt: skip


_STEPS: Final = 4
"""Turns of the loop until a connection that was made is accepted, and its answer begun."""


class Server:
    """An HTTP server that says `said` to everyone, and a fetcher that may reach it."""

    def __init__(self) -> None:
        self.said = b""
        self.url = ""
        self._answering = 0

    async def start(self) -> None:
        """Listen on loopback."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        self.pattern = parse_pattern(f"{self.url}/*")
        bounds = Bounds(body=BODY_LIMIT, timeout=0.5, redirects=2, idle=0.0)
        self.fetcher = Fetcher(private=[self.pattern], bounds=bounds, resolve=_nowhere)
        await self.fetcher.start()

    async def stop(self) -> None:
        """Close every connection."""
        self._server.close()
        await self.fetcher.stop()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answering += 1
        with suppress(OSError):
            await reader.read(4096)
            writer.write(self.said)
            writer.close()
            await writer.wait_closed()
        self._answering -= 1

    async def run(self, data: bytes) -> None:
        """Judge and send what `data` decides."""
        choices = Choices(data)
        if choices.once_in(4):
            await self._fetch(choices)
            await self._rest()
        else:
            _judge(choices)

    async def _rest(self) -> None:
        """Let the server be done with what was given up before it had heard of it: that is no descriptor which the fetcher left open."""
        for _ in range(_STEPS):
            await asyncio.sleep(0)
        while self._answering:
            await asyncio.sleep(0)

    async def _fetch(self, choices: Choices) -> None:
        call = Tongue(choices, []).struct(Fetch)
        request = Request(
            method=call.method, url=f"{self.url}/{_path(choices)}", headers=call.headers, body=call.body, timeout=call.timeout
        )
        self.said = _said(choices, self.url)
        try:
            answer = await self.fetcher.fetch(request, Asker(tenant="i1", declared=(self.pattern,)))
        except RopewalkError:
            return
        assert len(answer.body) <= BODY_LIMIT
        assert answer.url.startswith(self.url)


def _said(choices: Choices, url: str) -> bytes:
    """Return what is an answer of HTTP, more or less."""
    status = choices.pick([b"200 OK", b"301 M", b"302 F", b"307 T", b"204 N", b"100 C", b"999 X", b"0 Z", b"two hundred"])
    location = choices.pick(
        [f"{url}/next", "/x", "//other/", "https://api.example.com/", "http://[", "?q", "#", "\udcff", "javascript:0"]
    )
    content = choices.raw(choices.number(200)) * choices.pick([1, 10, 1_000])
    body = choices.pick(
        [content, gzip.compress(content), zlib.compress(content), zlib.compress(content)[2:-4], gzip.compress(content)[:-5]]
    )
    length = choices.pick([len(body), len(body) + 1, 0, 10**30, -1])
    headers = [
        b"Location: " + location.encode("utf-8", "surrogateescape"),
        f"Content-Length: {length}".encode(),
        b"Content-Encoding: " + choices.pick([b"gzip", b"deflate", b"br", b"GZIP ", b"\xff"]),
        b"Transfer-Encoding: chunked",
        b"X: \xff\xfe",
        choices.raw(12),
    ]
    kept = [header for header in headers if choices.once_in(2)]
    return b"\r\n".join([b"HTTP/1.1 " + status, *kept, b"", body])


def _path(choices: Choices) -> str:
    parts = [choices.pick(_SEGMENTS) for _ in range(choices.number(4))]
    return "/".join([*parts, choices.raw(choices.number(12)).decode("utf-8", "replace")])


def _judge(choices: Choices) -> None:
    """Hold a URL, a pattern and a redirect against each other."""
    text = (
        f"{choices.pick(_SCHEMES)}{choices.pick(_HOSTS)}/{_path(choices)}"
        if not choices.once_in(8)
        else choices.rest().decode("latin-1")
    )
    url = _parsed(text)
    with suppress(BadPattern):
        parse_pattern(text)
    for pattern in (parse_pattern(one) for one in _PATTERNS):
        assert url is None or not pattern.matches(url) or pattern.host is None or url.host.endswith(pattern.host)
    call = Tongue(choices, []).struct(Fetch)
    with suppress(RopewalkError):
        hop = first_hop(Request(method=call.method, url=text, headers=call.headers, body=call.body))
        b"".join(name + value for name, value in hop.wire_headers()).decode("latin-1")
        assert "\r" not in hop.url.target
        redirected(hop, choices.pick([301, 303, 308]), f"/{_path(choices)}")


def _parsed(text: str) -> Url | None:
    try:
        url = parse(text)
    except BadUrl:
        return None
    assert parse(url.text) == url
    assert url.text.isascii()
    assert url.path.startswith("/")
    assert "/../" not in url.path
    return url


async def _nowhere(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]
