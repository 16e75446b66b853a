"""A request as it is sent, once for every hop of a redirect: which headers a twist may set, and what a redirect changes.

The guard owns the headers that say where a request goes and where it ends; a twist that sets one is refused rather than ignored.
What proves who is asking never follows a redirect to another origin.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.egress.guard import parse_asked, parse_redirect
from ropewalk.egress.urls import DEFAULT_PORTS, Url
from ropewalk.errors import InvalidValue, NetworkDenied, ValueTooLarge

HEADERS_LIMIT: Final = 64 * 1024
"""Most bytes in the headers of a request."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_METHOD = re.compile(r"[A-Z][A-Z0-9\-]{0,31}")
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_GUARDED: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "http2-settings",
    }
)
_CREDENTIALS: Final = re.compile(rb"auth|cookie|token|secret|session|credential|password|signature|api-?key|(^|-)key$")
_OF_THE_BODY: Final = frozenset(
    {b"content-type", b"content-encoding", b"content-language", b"content-location", b"content-md5", b"digest"}
)
_DEFAULTS: Final = ((b"accept", b"*/*"), (b"accept-encoding", b"gzip, deflate"), (b"user-agent", b"ropewalk"))


class Request(Struct, frozen=True, kw_only=True):
    """What a twist asks to be sent. `timeout` is in seconds, over everything, redirects included."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    timeout: float = 30.0


class Hop(Struct, frozen=True, kw_only=True):
    """One request, ready to be sent: `headers` are the twist's own and the defaults, names in lower case.

    A body that comes piece by piece has `length` bytes, or is sent in chunks when that is not known.
    """

    method: str
    url: Url
    headers: list[tuple[bytes, bytes]]
    body: bytes | AsyncIterable[bytes]
    length: int | None = None

    def wire_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers as they are sent, the guard's own among them."""
        sent = [(b"host", self.url.authority.encode("ascii")), *self.headers]
        length = len(self.body) if isinstance(self.body, bytes) else self.length
        if length is None:
            sent.append((b"transfer-encoding", b"chunked"))
        elif length or self.method in ("POST", "PUT", "PATCH"):
            sent.append((b"content-length", b"%d" % length))
        return sent


def first_hop(request: Request) -> Hop:
    """Return the request as it is sent first.

    Raises: as `hop_of`.
    """
    hop = hop_of(request.method.upper(), request.url, request.headers, request.body)
    given = {name for name, _ in hop.headers}
    return replace(hop, headers=hop.headers + [default for default in _DEFAULTS if default[0] not in given])


def hop_of(
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | AsyncIterable[bytes] = b"",
    length: int | None = None,
) -> Hop:
    """Return a request with no other headers than these and the guard's own.

    Raises:
        NetworkDenied: the URL cannot be sent, or the method or a header is not the twist's to choose.
        InvalidValue: the method or a header is malformed.
        ValueTooLarge: the headers are.
    """
    if not _METHOD.fullmatch(method):
        raise InvalidValue(f"{method[:40]!r} is no HTTP method")
    if method in _REFUSED_METHODS:
        raise NetworkDenied(f"{method} requests are not sent for twists")
    return Hop(method=method, url=parse_asked(url), headers=_headers(headers), body=body, length=length)


def redirected(hop: Hop, status: int, location: str) -> Hop:
    """Return the request that follows an answer of this status with this Location (RFC 9110, 15.4; WHATWG Fetch, 4.4).

    Raises:
        NetworkDenied: the location cannot be sent to.
    """
    url = parse_redirect(hop.url, location)
    headers, method, body = hop.headers, hop.method, hop.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", b""
        headers = [header for header in headers if header[0] not in _OF_THE_BODY]
    if not (url.same_origin(hop.url) or _only_encrypts(hop.url, url)):
        headers = [header for header in headers if not _CREDENTIALS.search(header[0])]
    return replace(hop, method=method, url=url, headers=headers, body=body)


def _only_encrypts(before: Url, after: Url) -> bool:
    """Whether a redirect leads from http to https of the same host, both at their own ports."""
    ports = (before.port, after.port)
    return before.host == after.host and ports == (DEFAULT_PORTS["http"], DEFAULT_PORTS["https"]) and after.scheme == "https"


def _headers(given: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    size = 0
    for name, value in given:
        if not _NAME.fullmatch(name):
            raise InvalidValue(f"{name[:80]!r} is no name of a header")
        if not _VALUE.fullmatch(value):
            raise InvalidValue(f"the value of the header {name} holds a character that headers cannot carry: encode it")
        lower = name.lower()
        if lower in _GUARDED or lower.startswith("proxy-"):
            raise NetworkDenied(f"the header {name} is set by the runtime: leave it out")
        size += len(name) + len(value)
        headers.append((lower.encode("ascii"), value.strip(" \t").encode("latin-1")))
    if size > HEADERS_LIMIT:
        raise ValueTooLarge(f"the headers have {size:,} bytes and may have {HEADERS_LIMIT:,}: send long values in the body")
    return headers
