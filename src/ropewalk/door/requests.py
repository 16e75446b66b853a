"""What a guest's HTTP client asks a proxy for, as the request that the host makes of it; and the host's own answers. Pure.

A proxy is asked by absolute URL (RFC 9112, 3.2.2) or, for https, for a tunnel by CONNECT, within which requests name a path of one server.
Headers that belong to the one connection (RFC 9110, 7.6.1) end here, in both directions.

Before: `proxy`, which parsed the message. After: `egress.hops`, whose guard judges it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Final

import h11
import msgspec

from ropewalk.door.interface import Headers
from ropewalk.egress import hops
from ropewalk.egress.guard import parse_asked
from ropewalk.egress.urls import Url
from ropewalk.errors import InvalidValue, NetworkDenied

_OF_THE_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OF_THE_REQUEST: Final = _OF_THE_CONNECTION | {b"content-length", b"expect", b"host", b"http2-settings"}
_REASON_LIMIT: Final = 400
_SHOWN_LIMIT: Final = 300


def origin_of(request: h11.Request) -> Url:
    """Return the server that a CONNECT asks for. Raises NetworkDenied, InvalidValue."""
    authority = request.target.decode("latin-1")
    if "/" in authority or "@" in authority or ":" not in authority:
        raise InvalidValue(f"CONNECT asks for {authority[:_SHOWN_LIMIT]!r}: a host and a port are needed")
    return parse_asked(f"https://{authority}/")


def hop_of(request: h11.Request, origin: Url | None, body: bytes | AsyncIterable[bytes], length: int | None) -> hops.Hop:
    """Return the request as it is sent, to `origin` when it came through a tunnel.

    Raises:
        NetworkDenied: the URL cannot be sent, the Host header names another server than it, or the request is for a WebSocket.
        InvalidValue: the target is none for a proxy, or a header is malformed.
        ValueTooLarge: the headers are.
    """
    headers = _without(_OF_THE_REQUEST, request.headers)
    named = [(name.decode("ascii"), value.decode("latin-1")) for name, value in headers]
    hop = hops.hop_of(request.method.decode("ascii"), _url_of(request, origin), named, body, length)
    host = _value(request.headers, b"host")
    if host and not parse_asked(f"{hop.url.scheme}://{host}/").same_origin(hop.url):
        raise NetworkDenied(
            f"the Host header says {host[:_SHOWN_LIMIT]!r}, and the URL is {hop.url.shown}: it is sent to no other host"
        )
    if "websocket" in _value(request.headers, b"upgrade").lower():
        raise NetworkDenied("WebSockets are not sent for twists, nor other protocols than HTTP: ask for what is new now and then")
    return hop


def _url_of(request: h11.Request, origin: Url | None) -> str:
    target = request.target.decode("latin-1")
    if origin is None:
        if target.startswith("/") or target == "*":
            raise InvalidValue(f"{target[:_SHOWN_LIMIT]!r} names no server: this is a proxy, and wants a whole URL")
        return target
    if not target.startswith("/"):
        raise InvalidValue(f"{target[:_SHOWN_LIMIT]!r} is no path: within a tunnel a request names one")
    return f"{origin.scheme}://{origin.authority}{target}"


def shown(request: h11.Request, origin: Url | None) -> str:
    """Return what a request is for, as people are told: without query."""
    target = request.target.decode("latin-1").partition("?")[0][:_SHOWN_LIMIT]
    return target if origin is None else f"{origin.scheme}://{origin.authority}{target}"


def body_length(request: h11.Request) -> int | None:
    """Return how many bytes the body has, None when it comes in chunks: as h11 frames it, which has checked the headers."""
    if _value(request.headers, b"transfer-encoding"):
        return None
    return int(_value(request.headers, b"content-length") or 0)


def answer_headers(headers: Headers) -> Headers:
    """Return an answer's headers as they are passed on. Where the body comes in chunks they rule on its length, whatever else is said."""
    chunked = bool(_value(headers, b"transfer-encoding"))
    return _without(_OF_THE_CONNECTION | {b"content-length"} if chunked else _OF_THE_CONNECTION, headers)


def refusal(status: int, kind: str, message: str) -> tuple[h11.Response, bytes]:
    """Return the host's own answer: the error as JSON, in a header, and in the reason phrase, which is what clients show of a refused tunnel."""
    body = msgspec.json.encode({"error": kind, "message": message})
    reason = "".join(character if " " <= character <= "~" else "?" for character in f"{kind}: {message}"[:_REASON_LIMIT])
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("x-ropewalk-error", kind),
        ("connection", "close"),
    ]
    return h11.Response(status_code=status, headers=headers, reason=reason), body


def _without(names: frozenset[bytes], headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers without these and without those that the Connection header names."""
    kept = [(name.lower(), value) for name, value in headers]
    connection = b",".join(value for name, value in kept if name == b"connection")
    gone = names | {name.strip().lower() for name in connection.split(b",")}
    return [(name, value) for name, value in kept if name not in gone]


def _value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")
