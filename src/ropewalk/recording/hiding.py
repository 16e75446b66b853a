"""Replaces what is secret in the messages of an attempt, before they are kept.

Headers that carry credentials lose their value, in requests, in their answers and in what a webhook brought. What was replaced is told in words, so that a replay that
needs it can say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ropewalk.egress.sent import Sent, shown
from ropewalk.recording.exchanges import Exchange
from ropewalk.vault.redaction import HIDDEN, Redactor
from ropewalk.wire.messages import Answer, Failure, Fetch, HttpAnswer, Start

CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Headers whose values are never kept, in lower case."""

_FETCH: Final = b"\xa5fetch"
"""How a fetch begins, after the byte that says how many elements it has."""

_WEBHOOK: Final = b"\xa7webhook"
"""What an event that a webhook brought says somewhere."""

_decode_start: Final = msgspec.msgpack.Decoder(Start).decode
_decode_event: Final = msgspec.json.Decoder(list[dict[str, Any]]).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_fetch: Final = msgspec.msgpack.Decoder(Fetch).decode
_decode_reply: Final = msgspec.msgpack.Decoder(Answer | Failure).decode
_decode_answer: Final = msgspec.msgpack.Decoder(HttpAnswer).decode

Headers = list[tuple[str, str]]


def hide(messages: Sequence[bytes]) -> tuple[list[bytes], list[str]]:
    """Return the messages without what is secret in them, and what that was."""
    kept = list(messages)
    fetches: dict[int, Fetch] = {}
    hidden: list[str] = []
    for place, message in enumerate(messages):
        if place == 0 and _WEBHOOK in message:
            kept[place] = _hide_in_event(message, hidden)
        elif message[1:7] == _FETCH:
            fetch = _decode_fetch(message)
            fetches[fetch.id] = fetch
            kept[place] = _hide_in_fetch(message, fetch, hidden)
        elif fetches and _is_reply(message):
            reply = _decode_reply(message)
            asked = fetches.pop(reply.id, None)
            if asked is not None and isinstance(reply, Answer):
                kept[place] = _hide_in_answer(message, reply, asked, hidden)
    return kept, hidden


def hide_in_exchange(exchange: Exchange, hidden: list[str]) -> Exchange:
    """Return what passed the door without what is secret in it; what that was is added to `hidden`."""
    headers, names = without_credentials(exchange.headers)
    answer_headers, answer_names = without_credentials(exchange.answer_headers)
    hidden += [f"the header {name} of {exchange.method} {exchange.url}" for name in names]
    hidden += [f"the header {name} in the answer to {exchange.method} {exchange.url}" for name in answer_names]
    return replace(exchange, headers=headers, answer_headers=answer_headers)


def hide_in_sent(sent: Sent, redactor: Redactor | None) -> Sent:
    """Return what was noted of a request without what is secret in it."""
    hide_in = str if redactor is None else redactor.hide
    return replace(sent, url=shown(hide_in(sent.url)), message=hide_in(sent.message))


def without_credentials(headers: Headers) -> tuple[Headers, list[str]]:
    """Return headers with the values of credentials replaced, and the names of those, in lower case."""
    names = [name.lower() for name, _ in headers if name.lower() in CREDENTIALS]
    return [(name, HIDDEN if name.lower() in CREDENTIALS else value) for name, value in headers], names


def _hide_in_event(message: bytes, hidden: list[str]) -> bytes:
    """Hide what a webhook's request brought along."""
    start = _decode_start(message)
    if start.trigger != "webhook":
        return message
    request, *more = _decode_event(start.event)
    headers, names = without_credentials(request.get("headers", []))  # which one of HTTP/1.0 may have none of
    request["headers"] = headers
    hidden += [f"the header {name} of the webhook's request" for name in names]
    return _encode(replace(start, event=msgspec.json.encode([request, *more]))) if names else message


def _hide_in_fetch(message: bytes, fetch: Fetch, hidden: list[str]) -> bytes:
    headers, names = without_credentials(fetch.headers)
    hidden += [f"the header {name} of {fetch.method} {fetch.url}" for name in names]
    return _encode(replace(fetch, headers=headers)) if names else message


def _hide_in_answer(message: bytes, reply: Answer, fetch: Fetch, hidden: list[str]) -> bytes:
    answer = _decode_answer(reply.value)
    headers, names = without_credentials(answer.headers)
    if not names:
        return message
    hidden += [f"the header {name} in the answer to {fetch.method} {fetch.url}" for name in names]
    return _encode(Answer(id=reply.id, value=msgspec.Raw(_encode(replace(answer, headers=headers)))))


def _is_reply(message: bytes) -> bool:
    return message[1:8] == b"\xa6answer" or message[1:9] == b"\xa7failure"
