"""Credentials that the host puts into requests, so that twists never hold them.

Each has its own URL patterns, which lie within what the twist declares. Whether one goes along is decided anew for every hop of a redirect,
by the URL that is about to be sent to: it is added to a copy of the request, so that nothing of it is carried on. What a twist itself
sends under the same name there is replaced. A redirect by which a server sends a credential on to where it does not belong is not followed.

Before: `guard`, which has admitted the URL. After: `connections`, which send. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, unquote_plus

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.egress.hops import Hop
from ropewalk.egress.patterns import Pattern, first_match
from ropewalk.egress.urls import Url
from ropewalk.errors import NetworkDenied

_SHORTEST: Final = 6
"""Characters of a value that is looked for in URLs: a shorter one could be there by chance."""

_HEADER: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")
_NOT_OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
)


class Credential(Struct, frozen=True, kw_only=True):
    """A secret that goes into requests to URLs that `patterns` mean, as the header or the query parameter.

    `value` is the secret itself, `sent` what is sent of it.
    """

    name: str
    patterns: tuple[Pattern, ...]
    value: str
    sent: str
    header: str | None = None
    query: str | None = None


def add_credentials(hop: Hop, credentials: Sequence[Credential], encodings: bytes) -> Hop:
    """Return the request as it leaves, with the credentials that belong there.

    Args:
        hop: what the twist asks for.
        credentials: all of the instance's.
        encodings: the compressions in which an answer may come to a request that carries one: those that the host can look into.

    Raises:
        NetworkDenied: the URL carries a credential to where it does not belong.
    """
    given = False
    for credential in credentials:
        if first_match(credential.patterns, hop.url) is not None:
            hop = _with(hop, credential)
            given = True
        elif _is_in(hop.url, credential):
            raise NetworkDenied(
                f"{hop.url.shown} was given the secret {credential.name!r} in its query, by a redirect, and is no URL that it may be sent to: "
                "it was not followed"
            )
    return replace(hop, headers=_replaced(hop.headers, b"accept-encoding", encodings)) if given else hop


def why_no_header(name: str) -> str | None:
    """Return why a credential cannot be sent as this header; None when it can."""
    if not _HEADER.fullmatch(name):
        return f"{name[:100]!r} is no name of a header"
    if name.lower() in _NOT_OURS or name.lower().startswith("proxy-"):
        return f"the header {name} is the connection's own"
    return None


def _with(hop: Hop, credential: Credential) -> Hop:
    if credential.header is not None:
        name = credential.header.lower().encode("ascii")
        return replace(hop, headers=_replaced(hop.headers, name, credential.sent.encode("latin-1")))
    assert credential.query is not None
    others = [part for part in (hop.url.query or "").split("&") if part and _name_of(part) != credential.query]
    own = f"{quote(credential.query, safe='')}={quote(credential.sent, safe='')}"
    return replace(hop, url=replace(hop.url, query="&".join([*others, own])))


def _replaced(headers: list[tuple[bytes, bytes]], name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    return [*(header for header in headers if header[0] != name), (name, value)]


def _name_of(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0])


def _is_in(url: Url, credential: Credential) -> bool:
    value = credential.value
    return len(value) >= _SHORTEST and (value in url.target or value in unquote_plus(url.target))
