"""`ANY /webhooks/{token}[/{path}]`: requests come in, and are answered when they are durable.

What comes from the network is bounded before it is read: how many requests are open, how many bytes all of them hold, how large one may
be and how long it may take. A plain ASGI application, since nothing but this is on its way. After: `sources.receiving`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Self
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from ropewalk.answers.throttle import Throttle
from ropewalk.errors import InvalidValue
from ropewalk.sources import challenges, signatures, urls
from ropewalk.sources.receiving import Endpoint, Received, Receiver, TooLate
from ropewalk.sources.watching import Stopped
from ropewalk.storage.interface import QueueIsFull, StorageError, UnknownWebhook
from ropewalk.storage.records import Webhook
from ropewalk.vault.errors import VaultError
from ropewalk.wire.answering import check_answer
from ropewalk.wire.messages import AnswerRecord, Json

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MIB: Final = 1024 * 1024

HEAD: Final = 64 * 1024
"""Most bytes of a request's URL and headers together."""


BODY_IS_THERE: Final = "ropewalk.body_is_there"
"""What a server's scope of a request may say: the body was received whole with the head, so that nothing has to be waited for."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What requests may take: bytes of one body and of all that are open, requests at once, seconds until a body is there, until the
    execution that makes the webhook is over, and until a method has answered.
    """

    body: int = 5 * MIB
    bodies: int = 64 * MIB
    requests: int = 2_000
    reading: float = 30.0
    holding: float = 10.0
    responding: float = 10.0


class Refused(Exception):
    """The request is answered with an error. `early` says that its body was not read, so that the connection cannot go on."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None, early: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.early = early


class Reply(Struct, frozen=True):
    """An answer, ready to be sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Webhooks:
    """The application.

    Args:
        receiver: what takes requests in.
        throttle: how often each instance may be sent one.
        bounds: their bounds.

    Attributes:
        taken: how many requests were accepted, were duplicates, were held first, or handshakes.
        refused: how many were refused, by reason.
        open: how many are being answered.
        bounds: what requests may take.
    """

    def __init__(self, receiver: Receiver, throttle: Throttle, bounds: Bounds) -> None:
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.open = 0
        self._receiver = receiver
        self._throttle = throttle
        self.bounds = bounds
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.open += 1
        try:
            reply = await self._reply(scope, receive)
        except Refused as refused:
            self.refused[refused.reason] += 1
            reply = _refusal(refused)
        finally:
            self.open -= 1
        body = b"" if reply.status in _WITHOUT_BODY else reply.body
        headers = reply.headers if reply.status in _WITHOUT_BODY else [*reply.headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        """Return the answer. Whatever storage cannot do now may be tried again."""
        try:
            return await self._answer(scope, receive)
        except UnknownWebhook:
            raise _unknown() from None
        except QueueIsFull as error:
            raise Refused(429, "queue_full", str(error), retry_after=5) from None
        except StorageError as error:
            raise Refused(503, "storage", f"it cannot be stored now: {error}", retry_after=5) from None
        except VaultError as error:
            log.error("a webhook's secret cannot be opened: %s", error)
            raise Refused(503, "secret", "the webhook's secret cannot be opened now", retry_after=60) from None
        except Stopped:
            raise Refused(503, "stopping", "this node stops", retry_after=1) from None

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        bounds = self.bounds
        if self.open > bounds.requests:
            raise Refused(503, "busy", f"more than {bounds.requests:,} requests are open", retry_after=1, early=True)
        _check_head(scope)
        token, path = _place(scope)
        endpoint = await self._receiver.look_up(token)
        if endpoint is None:
            raise _unknown(early=True)
        try:
            return await self._answer_at(endpoint, scope, path, receive)
        except Refused as refused:
            if await self._receiver.is_gone(token):
                raise _unknown(early=refused.early) from None
            raise

    async def _answer_at(self, endpoint: Endpoint, scope: Scope, path: str, receive: Receive) -> Reply:
        query = scope["query_string"].decode("latin-1")
        if (text := _handshake(endpoint, scope["method"], query, None)) is not None:
            return self._plain(text)
        self._take_token(endpoint.claims.instance)
        with _Room(self) as room:
            body = await self._body(scope, receive, room)
            if (text := _handshake(endpoint, scope["method"], query, body)) is not None:
                return self._plain(text)
            webhook = endpoint.webhook or await self._held(endpoint)
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
            request = Received(method=scope["method"], path=path, query=query, headers=headers, body=body)
            return await self._accept(webhook, request)

    async def _accept(self, webhook: Webhook, request: Received) -> Reply:
        try:
            accepted = await self._receiver.take_in(webhook, request)
        except signatures.Refused as refused:
            raise Refused(401, "signature", str(refused)) from None
        self.taken["duplicate" if accepted.duplicate else "accepted"] += 1
        if webhook.respond:
            return await self._responded(accepted.execution)
        return _json(202, {"queued": not accepted.duplicate, "execution": accepted.execution})

    async def _held(self, endpoint: Endpoint) -> Webhook:
        """Return the webhook that an execution is still making."""
        self.taken["held"] += 1
        try:
            webhook = await self._receiver.settled(endpoint, self.bounds.holding)
        except TooLate:
            raise Refused(503, "unsettled", "the execution that made this webhook is not over yet", retry_after=10) from None
        if webhook is None:
            raise _unknown()
        return webhook

    async def _responded(self, execution: str) -> Reply:
        """Return what the method answers, or why it does not."""
        within = self.bounds.responding
        try:
            over = await self._receiver.result(execution, within)
        except TooLate as late:
            if late.started:
                raise Refused(504, "too_slow", f"execution {execution} took longer than {within:g} s and was ended") from None
            text = f"execution {execution} could not be started within {within:g} s and was taken back"
            raise Refused(503, "not_started", text, retry_after=5) from None
        if over.status != "succeeded":
            raise Refused(500, "failed", f"execution {execution} {over.status}")
        try:
            return _reply_of(over.result or b"null", execution)
        except InvalidValue as error:
            raise Refused(500, "failed", f"execution {execution} returned what is no answer: {error}") from None

    def _plain(self, text: str) -> Reply:
        self.taken["handshake"] += 1
        return Reply(200, [(b"content-type", b"text/plain; charset=utf-8"), *_SAFE], text.encode(errors="replace"))

    def _take_token(self, instance: str) -> None:
        wait = self._throttle.take(instance)
        if wait is not None:
            pace = self._throttle.pace
            text = f"this instance may be sent {pace.burst:,} requests at once and then {pace.rate:g} a second"
            raise Refused(429, "rate", text, retry_after=wait, early=True)

    # ── Bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def take_room(self, size: int) -> None:
        """Set bytes aside for a body. Raises Refused when all that are open would hold too many."""
        if self._bytes + size > self.bounds.bodies:
            text = f"the requests that are open hold {self._bytes:,} bytes, and may hold {self.bounds.bodies:,}"
            raise Refused(503, "busy", text, retry_after=1, early=True)
        self._bytes += size

    def give_room_back(self, size: int) -> None:
        """Let others have what was set aside."""
        self._bytes -= size

    async def _body(self, scope: Scope, receive: Receive, room: _Room) -> bytes:
        """Return the whole body, or refuse it as soon as it is known to be too large or too slow."""
        announced = _content_length(scope)
        if announced > self.bounds.body:
            await self._sent_on(scope, receive, announced)
            raise self._too_large(announced)
        room.grow_to(announced)
        if BODY_IS_THERE in scope:
            return await self._read(receive, room)
        try:
            async with asyncio.timeout(self.bounds.reading):
                return await self._read(receive, room)
        except TimeoutError:
            text = f"its body was not there after {self.bounds.reading:g} s"
            raise Refused(408, "slow", text, early=True) from None

    async def _read(self, receive: Receive, room: _Room) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "disconnected", "it broke off before its body was whole", early=True)
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self.bounds.body:
                raise self._too_large(size)
            room.grow_to(size)
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _sent_on(self, scope: Scope, receive: Receive, announced: int) -> None:
        """Let a sender that waits for no permission finish, if that is soon: most read no answer before they have sent everything."""
        if _header(scope, b"expect") is not None or announced > 4 * self.bounds.body:
            return
        try:
            async with asyncio.timeout(_LINGER):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    pass
        except TimeoutError:
            return

    def _too_large(self, size: int) -> Refused:
        text = f"its body has {size:,} bytes or more and may have {self.bounds.body:,}"
        return Refused(413, "too_large", text, early=True)


_LINGER: Final = 2.0


class _Room:
    """The bytes that one request holds, within a block, of those that all may."""

    __slots__ = ("_webhooks", "taken")

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self.taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._webhooks.give_room_back(self.taken)

    def grow_to(self, size: int) -> None:
        """Hold so many bytes. Raises Refused."""
        if size > self.taken:
            self._webhooks.take_room(size - self.taken)
            self.taken = size


# ── Requests ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_head(scope: Scope) -> None:
    size = sum([len(name) + len(value) for name, value in scope["headers"]]) + len(scope["raw_path"]) + len(scope["query_string"])
    if size > HEAD:
        raise Refused(431, "headers", f"its headers and URL have {size:,} bytes and may have {HEAD:,}", early=True)


def _place(scope: Scope) -> tuple[str, str]:
    """Return the token and what follows it, decoded."""
    rest = scope["raw_path"].decode("latin-1").partition(urls.PATH)[2]
    token, _, path = rest.partition("/")
    return token, unquote(path, errors="replace")


def _handshake(endpoint: Endpoint, method: str, query: str, body: bytes | None) -> str | None:
    kind = endpoint.claims.challenge
    return None if kind is None else challenges.answer(kind, method, query, body)


def _content_length(scope: Scope) -> int:
    text = _header(scope, b"content-length")
    return int(text) if text is not None and text.isdigit() else 0


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)


# ── Answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SAFE: Final = [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox; default-src 'none'")]
"""No browser makes more of an answer than it says, nor runs anything of it in the name of this origin."""

_WITHOUT_BODY: Final = frozenset({204, 205, 304})

_TYPES: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    408: "RequestTimeout",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    431: "HeadersTooLarge",
    500: "ExecutionFailed",
    503: "Unavailable",
    504: "GatewayTimeout",
}

_encode: Final = msgspec.json.Encoder().encode
_read_answer: Final = msgspec.json.Decoder(AnswerRecord).decode


def _unknown(*, early: bool = False) -> Refused:
    return Refused(404, "unknown", "there is no such webhook", early=early)


def _json(status: int, document: object) -> Reply:
    return Reply(status, [(b"content-type", b"application/json")], _encode(document))


def _refusal(refused: Refused) -> Reply:
    reply = _json(refused.status, {"error": {"type": _TYPES[refused.status], "message": str(refused)}})
    if refused.retry_after is not None:
        reply.headers.append((b"retry-after", b"%d" % max(1, math.ceil(refused.retry_after))))
    if refused.early:
        reply.headers.append((b"connection", b"close"))
    return reply


def _reply_of(result: Json, execution: str) -> Reply:
    """Return what a method's result says: a whole answer, text, nothing, or JSON. Raises InvalidValue."""
    status, headers, body = _answer_of(result)
    check_answer(status, headers)
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return Reply(status, [*fields, *_SAFE, (b"ropewalk-execution", execution.encode())], body)


def _answer_of(result: Json) -> tuple[int, list[tuple[str, str]], bytes]:
    try:
        answer = _read_answer(result)
    except msgspec.ValidationError:
        pass
    else:
        return answer.status, answer.headers, answer.body
    match msgspec.json.decode(result):
        case None:
            return 200, [], b""
        case str(text):
            return 200, [("content-type", "text/plain; charset=utf-8")], text.encode(errors="replace")
        case _:
            return 200, [("content-type", "application/json")], result
