"""A million URLs: what is checked and what is sent never differ, and nothing leaves that was not checked.

python -m tests.egress.campaign --urls 1000000    the long form, `make egress-campaign`

URLs are put together from what parsers are known to differ about, or are lines of verdicts.jsonl with something changed. Each is fetched,
by itself or as the target of a redirect, by a real Fetcher whose connections end in a recorder. What that has seen on the wire (address,
port, name in the TLS handshake, request line, Host) is read with other code than the guard's: the standard library's parsers of URLs and
addresses, and patterns written out as comparisons.

- What is sent is, to the letter, the URL that was checked.
- Whatever is sent is one request for a declared URL, to a public address that its name resolves to; TLS names that host.
- The standard library finds in the text that was asked for the host, port and scheme that were sent to.
- Whatever is refused has opened no connection.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Network, ip_address
from posixpath import normpath
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from ropewalk.egress.fetch import Asker, Fetcher
from ropewalk.egress.hops import Request
from ropewalk.egress.lines import Line
from ropewalk.egress.patterns import parse_pattern
from ropewalk.errors import NetworkDenied, NetworkError
from tests.egress.registries import said_reachable
from tests.egress.verdicts import CASES

MILLION: Final = 1_000_000

ADDRESSES: Final = {
    "api.example.com": ["93.184.216.34"],
    "example.com": ["93.184.216.35", "2606:2800:220:1:248:1893:25c8:1946"],
    "rebind.example.com": ["93.184.216.36", "127.0.0.1"],
    "inner.example.com": ["10.0.0.1"],
    "xn--bcher-kva.example": ["93.184.216.37"],
    "start.example.com": ["93.184.216.38"],
}
ANY_ADDRESS: Final = ["93.184.216.99"]

NAT64: Final = IPv6Network("64:ff9b::/96")
UNICAST: Final = IPv6Network("2000::/3")

DECLARED: Final[list[tuple[str, Callable[[SplitResult], bool]]]] = [
    ("*", lambda url: _port(url) in (80, 443)),
    ("https://api.example.com/*", lambda url: url.scheme == "https" and url.netloc == "api.example.com"),
    ("https://*.example.com", lambda url: url.scheme == "https" and url.netloc.endswith(".example.com")),
    ("http://api.example.com:8080/v1/*", lambda url: url.netloc == "api.example.com:8080" and _is_below(url.path, "/v1/")),
    ("https://bücher.example/v1/*", lambda url: url.scheme == "https" and url.netloc == "xn--bcher-kva.example" and _is_below(url.path, "/v1/")),
]  # fmt: skip
"""Patterns, each with what it means."""

START: Final = "http://start.example.com/"
_HEADER: Final = re.compile(r"[^\s\0]([^\r\n\0]*[^\s\0])?")  # what a Location can say

SCHEMES: Final = ["https://", "http://"]
ODD_SCHEMES: Final = ["HTTPS://", "hTTp://", "https:", "//", "https:/", "https:\\\\", "ftp://", ""]
PLACES: Final = [""]
ODD_PLACES: Final = ["user@", "user:pw@", "@", "api.example.com@", "api.example.com:443@", "\\@", "%40"]
HOSTS: Final = ["api.example.com"] * 4 + ["example.com", "a.b.example.com", "bücher.example", "xn--bcher-kva.example", "8.8.8.8"]
ODD_HOSTS: Final = [
    "API.example.com", "api.example.com.", "rebind.example.com", "inner.example.com", "BÜCHER.example", "xn--a", "xn--", "ａｐｉ.example.com",
    "api。example.com", "api.exam\u00adple.com", "api.examp\u200dle.com", "127.0.0.1", "10.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1",
    "127.0.0.1.", "①②⑦.0.0.1", "[::1]", "[2606:4700:4700::1111]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::808:808]", "[fe80::1%25lo]",
    "[::1", "localhost", "x.internal", "a_b.example.com", "-.example.com", "*.example.com", "a..b", ".", "", "example.com%2e", "%61pi.example.com",
    "x" * 64,
]  # fmt: skip
PORTS: Final = ["", "", "", ":443", ":80", ":8080"]
ODD_PORTS: Final = [":", ":08080", ":0", ":65536", ":8O80", ":80:80", ":+80", ":８０"]
PIECES: Final = [
    "/", "/v1/", "/v1/x", "/a", "b", "é", "🎉", "~", "%7e", "%20", "?a=b&c[]=d", "#", ";v=1", "=", "/.", "/..", "/%2e%2e", "/%2E.", "//", "*", "'", "x" * 30,
]  # fmt: skip
ODD_PIECES: Final = [
    "/v1", "/%252e%252e", "/..;x", "..%2f", "%2f", "%5c..", "\\", "%zz", "%", "%00", "%0d%0a", "\r\n", "\t", " ", "\x00", "\x7f", "\u2028", "\u202e",
    "\uff0f", "\uff0e\uff0e", "%c0%ae", "%u002e", "{}", "[", "|", '"<>', "?", "?../", "#/../", "@evil.example/", ":80", "^`",
]  # fmt: skip
CHANGES: Final = [
    *"/\\?#@:%.;&=[]*~+ \t\r\n\x00\x7fé\u3002\uff0e\u00ad\u200d0x",
    "%2e",
    "%2f",
    "..",
    "//",
    "[::1]",
    "127.0.0.1",
    "localhost",
]
ODD: Final = 0.08
"""How often each part of a URL is an odd one: so that about half of all are sent."""


def generated(chance: random.Random) -> str:
    """Return a URL, more or less."""
    if chance.random() < 0.3:
        return _changed(chance.choice(CASES).url, chance)
    parts = [(SCHEMES, ODD_SCHEMES), (PLACES, ODD_PLACES), (HOSTS, ODD_HOSTS), (PORTS, ODD_PORTS)]
    pieces = [(PIECES, ODD_PIECES)] * chance.randrange(6)
    head, tail = ("".join(_picked(part, chance) for part in group) for group in (parts, pieces))
    return f"{head}/{tail}" if chance.random() > ODD else head + tail


def _picked(part: tuple[list[str], list[str]], chance: random.Random) -> str:
    return chance.choice(part[chance.random() < ODD])


def _changed(text: str, chance: random.Random) -> str:
    for _ in range(chance.randrange(3)):
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(CHANGES) + text[place + chance.randrange(2) :]
    return text


# ── What the wire has seen ────────────────────────────────────────────────────────────────────────────────────────────────────


class Seen:
    """One connection."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.tls_name: str | None = None
        self.sent = b""


class Recorder:
    """What requests are sent to. It answers the first page with a redirect to `location`, everything else with nothing."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.location: str | None = None

    async def connect(self, address: str, port: int, tls: ssl.SSLContext | None, host: str) -> Line:
        self.seen.append(Seen(address, port))
        if tls is not None:
            assert tls.check_hostname
            self.seen[-1].tls_name = host
        return _Line(self, self.seen[-1])

    def answer(self, seen: Seen) -> bytes:
        """Return what the server says to what it was sent."""
        if self.location is None or len(self.seen) > 1:
            return b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        location = self.location.encode("utf-8")
        return b"HTTP/1.1 307 Away\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"


class _Line:
    def __init__(self, recorder: Recorder, seen: Seen) -> None:
        self.peer = seen.address
        self._recorder = recorder
        self._seen = seen

    async def read(self) -> bytes:
        return self._recorder.answer(self._seen)

    async def write(self, data: bytes) -> None:
        self._seen.sent += data

    def is_quiet(self) -> bool:
        return True

    def close(self) -> None:
        pass


# ── What it should have seen ──────────────────────────────────────────────────────────────────────────────────────────────────


def told_by(seen: Seen) -> SplitResult:
    """Return the URL that a connection was used for, as whoever is at its other end reads it."""
    head, separator, rest = seen.sent.partition(b"\r\n\r\n")
    assert separator
    assert rest == b""
    request, *headers = head.decode("ascii").split("\r\n")
    method, target, version = request.split(" ")
    assert (method, version) == ("GET", "HTTP/1.1")
    assert target.startswith("/")
    assert target.isprintable()
    assert "#" not in target
    hosts = [value for name, _, value in (header.partition(": ") for header in headers) if name == "host"]
    assert len(hosts) == 1
    return urlsplit(f"{'http' if seen.tls_name is None else 'https'}://{hosts[0]}{target}")


def text_of(seen: Seen) -> str:
    """Return the URL that a connection was used for, to the letter."""
    request, host, *_ = seen.sent.decode("ascii").split("\r\n")
    return f"{'http' if seen.tls_name is None else 'https'}://{host.removeprefix('host: ')}{request.split(' ')[1]}"


def check(seen: Seen, meaning: Callable[[SplitResult], bool]) -> SplitResult:
    """Return the URL of what was sent. Fails when it is not what may be sent, or went elsewhere."""
    url = told_by(seen)
    host = url.hostname
    assert host
    assert url.username is None
    assert meaning(url)
    assert seen.port == _port(url)
    assert seen.tls_name in (None, host)
    answers = [host] if _is_address(host) else ADDRESSES.get(host, ANY_ADDRESS)
    assert seen.address in answers
    assert all(map(_is_public, answers))
    return url


def check_asked(text: str, sent: SplitResult) -> None:
    """Fail when the standard library reads another host, port or scheme in the text that was asked for."""
    asked = urlsplit(text)
    assert asked.scheme == sent.scheme
    assert _port(asked) == _port(sent)
    host = asked.hostname or ""
    if host.isascii() and not host.startswith(("[", "xn--")):
        assert (
            ip_address(host) == ip_address(sent.hostname or "") if _is_address(host) else host.removesuffix(".") == sent.hostname
        )


def _port(url: SplitResult) -> int:
    return url.port or {"http": 80, "https": 443}[url.scheme]


def _is_start(url: SplitResult) -> bool:
    return url._replace(query="").geturl() == START


def _is_below(path: str, prefix: str) -> bool:
    """Whether a path is below a prefix however often it is decoded."""
    for _ in range(10):
        if not (normpath(path.replace("\\", "/")) + "/").startswith(prefix):
            return False
        path = unquote(path)
    return True


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache
def _is_public(text: str) -> bool:
    address = ip_address(text)
    if address in NAT64:
        return _is_public(str(IPv4Address(int(address) & 0xFFFF_FFFF)))
    unicast = address in UNICAST if address.version == 6 else not address.is_multicast
    return unicast and said_reachable(address) is not False


# ── The campaign ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def resolve(host: str, port: int) -> list[str]:
    return ADDRESSES.get(host, ANY_ADDRESS)


async def campaign(urls: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """Fetch so many URLs, and return how many were sent, refused and followed. The same seed gives the same URLs."""
    chance = random.Random(seed)
    recorder, counts = Recorder(), Counter[str]()
    fetcher = Fetcher(resolve=resolve, connect=recorder.connect)
    await fetcher.start()
    began = told = time.monotonic()
    for number in range(urls):
        await _one(fetcher, recorder, chance, counts)
        if time.monotonic() - told > 15:
            told = time.monotonic()
            tell(f"{number + 1:>10,} URLs, {counts['sent']:,} sent, {(number + 1) / (told - began):,.0f} a second")
    await fetcher.stop()
    return counts


async def _one(fetcher: Fetcher, recorder: Recorder, chance: random.Random, counts: Counter[str]) -> None:
    text = generated(chance)
    pattern, meaning = DECLARED[0] if chance.random() < 0.5 else chance.choice(DECLARED)
    recorder.seen.clear()
    recorder.location = text if chance.random() < 0.2 and _HEADER.fullmatch(text) else None
    url = text if recorder.location is None else START
    declared = tuple(map(parse_pattern, {pattern, START} if recorder.location is not None else {pattern}))
    try:
        answer = await fetcher.fetch(Request(method="GET", url=url), Asker(tenant=chance.choice("abc"), declared=declared))
    except (NetworkDenied, NetworkError):
        refused = True
    else:
        refused = False
        assert text_of(recorder.seen[-1]) == answer.url, f"{answer.url!r} was checked, {text_of(recorder.seen[-1])!r} was sent"
    try:
        _check_all(recorder, text, meaning, refused=refused)
    except AssertionError as error:
        raise AssertionError(f"{text!r} under {pattern!r}, seen {[vars(seen) for seen in recorder.seen]}: {error}") from error
    counts["refused" if refused else "sent"] += 1
    counts["followed"] += len(recorder.seen) > 1


def _check_all(recorder: Recorder, text: str, meaning: Callable[[SplitResult], bool], *, refused: bool) -> None:
    seen = list(recorder.seen)
    if recorder.location is not None:
        assert check(seen.pop(0), _is_start)
    assert len(seen) <= 1
    assert bool(seen) != refused
    for one in seen:
        sent = check(one, meaning if recorder.location is None else lambda url: meaning(url) or _is_start(url))
        check_asked(text if recorder.location is None else urljoin(START, text), sent)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.egress.campaign", description="See that what is checked is what is sent."
    )
    parser.add_argument("--urls", type=int, default=MILLION, help="[default: 1,000,000]")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same URLs; 0 takes another each time")
    given = parser.parse_args()
    seed = given.seed or random.SystemRandom().randrange(1, 1 << 32)
    tell(f"{given.urls:,} URLs, with --seed {seed}")
    counts = asyncio.run(campaign(given.urls, seed, tell))
    tell(f"none differed: {', '.join(f'{count:,} {what}' for what, count in counts.items())}")


def tell(text: str) -> None:
    """Say how it goes."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
