"""Handshakes: how a provider sees, before it sends anything, that the URL it was given is ours. Answered without running anything.

    slack      POST {"type": "url_verification", "challenge": TEXT}    TEXT
    meta       GET ?hub.mode=subscribe&hub.challenge=TEXT              TEXT
    microsoft  ?validationToken=TEXT                                   TEXT, decoded

What is answered is the provider's own text, as plain text, to whoever knows the URL, which cannot be guessed: so no secret is needed for
it, and none is known while the execution that made the webhook still runs. Pure.

Sources: api.slack.com/events/url_verification, developers.facebook.com/docs/graph-api/webhooks/getting-started,
learn.microsoft.com/graph/change-notifications-delivery-webhooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

LONGEST: Final = 4096
"""Bytes of a text that is sent back; no provider's is near that."""


class _Verification(Struct):
    type: Literal["url_verification"]
    challenge: str


def kinds() -> tuple[str, ...]:
    """Return the names of the handshakes."""
    return tuple(_KINDS)


def answer(kind: str, method: str, query: str, body: bytes | None) -> str | None:
    """Return what answers a provider's handshake, None when the request is none. `body` is None while it is not read yet."""
    text = _KINDS[kind](method, query, body)
    return text if text is not None and len(text.encode(errors="replace")) <= LONGEST else None


def _slack(method: str, query: str, body: bytes | None) -> str | None:
    if method != "POST" or body is None or len(body) > 2 * LONGEST:
        return None
    try:
        return msgspec.json.decode(body, type=_Verification).challenge
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _meta(method: str, query: str, body: bytes | None) -> str | None:
    given = _fields(query) if method == "GET" else {}
    return given.get("hub.challenge") if given.get("hub.mode") == "subscribe" else None


def _microsoft(method: str, query: str, body: bytes | None) -> str | None:
    return _fields(query).get("validationToken")


def _fields(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        return {}


_KINDS: Final[dict[str, Callable[[str, str, bytes | None], str | None]]] = {
    "slack": _slack,
    "meta": _meta,
    "microsoft": _microsoft,
}
