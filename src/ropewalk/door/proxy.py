"""One connection of a guest's HTTP client, as a proxy serves it: HTTP/1.1, request by request.

What comes is a guest's, and hostile until shown otherwise: h11 parses it strictly, bounds what it keeps, and frames what is sent. Every
request becomes a `Hop` that the guard judges like those of `Network.fetch`; redirects are the client's to follow, each one a request again.
Bodies pass piece by piece in both directions, the next piece when the one before has been taken. Nothing is kept from one request to the
next but the connection itself.

Before: `visit`, which has the connection. After: the attempt's `Guest.exchange`, which answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

import h11
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream

from ropewalk.door import requests
from ropewalk.door.interface import Answered, Guest
from ropewalk.egress.hops import HEADERS_LIMIT, Hop
from ropewalk.egress.patterns import BadPattern
from ropewalk.egress.urls import Url
from ropewalk.errors import FetchTimeout, InvalidValue, NetworkDenied, NetworkError, RopewalkError, ValueTooLarge

UPLOAD_LIMIT: Final = 32 * 1024 * 1024
"""Most bytes of a request's body: as many as an answer's may have."""

SILENCE: Final = 120.0
"""Seconds for which neither a request nor its answer may stand still."""

_READ: Final = 64 * 1024

_LINGER: Final = 1.0
"""Seconds of a client's silence after which a connection is closed that it was refused something on."""


class Left(Exception):
    """The client has gone, or what it said cannot be gone on from: the connection is over."""


class Proxy:
    """Serves one connection.

    Args:
        stream: to the client.
        guest: whose client it is.
        origin: within a tunnel, the server at its other end; None for the connection itself, where requests name theirs.
    """

    def __init__(self, stream: ByteStream, guest: Guest, origin: Url | None = None) -> None:
        self.requests = 0
        """How many it has brought."""
        self._stream = stream
        self._guest = guest
        self._origin = origin
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_LIMIT + _READ)
        self._asked_whole = asyncio.Event()
        self._patience: asyncio.Timeout | None = None

    async def serve(self) -> Url | None:
        """Answer requests until the client has no more, or asks for a tunnel: then return where it leads. Raises Left."""
        while (request := await self._next_request()) is not None:
            if request.method == b"CONNECT":
                return await self._open_tunnel(request)
            self.requests += 1
            if not self._guest.count_request():
                return None
            await self._answer(request)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return None
            self._http.start_next_cycle()
        return None

    # ── What the client says ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _next_request(self) -> h11.Request | None:
        self._asked_whole.clear()
        try:
            event = await self._next_event()
        except h11.RemoteProtocolError as error:
            await self._refuse(InvalidValue(f"what the client sent is no HTTP request: {error}"), "a request")
            return None
        return event if isinstance(event, h11.Request) else None

    async def _next_event(self) -> h11.Event | None:
        """Return what the client says next, None when it may say nothing before it has been answered. Raises h11.RemoteProtocolError."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._receive())
        return event if isinstance(event, h11.Event) else None

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive(_READ)
        except EndOfStream:
            return b""

    async def _body(self) -> AsyncIterator[bytes]:
        """Give the request's body as it comes."""
        left = UPLOAD_LIMIT
        while isinstance(event := await self._next_of_body(), h11.Data):
            left -= len(event.data)
            if left < 0:
                raise _too_large()
            self._moved()
            yield bytes(event.data)
        self._asked_whole.set()

    async def _next_of_body(self) -> h11.Event | None:
        try:
            return await self._next_event()
        except h11.RemoteProtocolError as error:
            raise Left from error

    async def _gone(self) -> None:
        """Return when the client closes the connection; what it sends before the answer to its request is over is kept."""
        await self._asked_whole.wait()
        data = await self._receive()
        if data:
            self._http.receive_data(data)
            await asyncio.get_running_loop().create_future()

    # ── What it is answered ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open_tunnel(self, request: h11.Request) -> Url | None:
        shown = request.target.decode("latin-1")[:300]
        try:
            if self._origin is not None:
                raise InvalidValue("a tunnel within a tunnel leads nowhere")
            origin = requests.origin_of(request)
            self._guest.check_origin(origin)
        except (RopewalkError, BadPattern) as error:
            self.requests += 1
            self._guest.count_request()
            await self._refuse(error, f"CONNECT {shown}")
            return None
        await self._send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        if self._http.trailing_data[0]:
            raise Left
        return origin

    async def _answer(self, request: h11.Request) -> None:
        """Have the request sent and pass its answer on."""
        shown = f"{request.method.decode()} {requests.shown(request, self._origin)}"
        try:
            length = requests.body_length(request)
            if length == 0:
                await self._next_of_body()  # the end of it
                self._asked_whole.set()
            hop = self._hop(request, length)
            await self._unless_gone(self._pass_on(hop))
        except (RopewalkError, BadPattern) as error:
            await self._refuse(error, shown)
        except TimeoutError:
            await self._refuse(FetchTimeout(f"nothing moved for {SILENCE:g} s"), shown)

    def _hop(self, request: h11.Request, length: int | None) -> Hop:
        if length is not None and length > UPLOAD_LIMIT:
            raise _too_large()
        return requests.hop_of(request, self._origin, b"" if length == 0 else self._body(), length)

    async def _unless_gone(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work while the client is there to have it done."""
        working, going = asyncio.create_task(work), asyncio.create_task(self._gone())
        try:
            await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Left
            await working
        finally:
            for task in (working, going):
                task.cancel()
            await asyncio.gather(working, going, return_exceptions=True)

    async def _pass_on(self, hop: Hop) -> None:
        async with asyncio.timeout(SILENCE) as self._patience, self._guest.exchange(hop) as answered:
            self._moved()
            await self._send(_head(answered))
            async for chunk in answered.chunks:
                await self._send(h11.Data(data=chunk))
                self._moved()
            await self._send(h11.EndOfMessage())

    def _moved(self) -> None:
        assert self._patience is not None, "bodies move while a request is passed on"
        self._patience.reschedule(asyncio.get_running_loop().time() + SILENCE)

    async def _refuse(self, error: Exception, shown: str) -> None:
        """Answer in the server's place, and say so in the log. Once an answer has begun, all that is left is to break it off."""
        kind = type(error).__name__ if isinstance(error, RopewalkError) else "NetworkDenied"
        self._guest.warn(f"{shown}: {kind}: {error}")
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise Left from error
        status = next((status for of, status in _STATUSES if isinstance(error, of)), 403)
        head, body = requests.refusal(status, kind, str(error))
        await self._send(head)
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())
        if self._http.their_state in (h11.SEND_BODY, h11.ERROR):
            await self._let_finish()

    async def _let_finish(self) -> None:
        """Take what the client is still saying, and forget it: one that is cut off while it sends does not read its answer."""
        with contextlib.suppress(TimeoutError):
            for _ in range(2 * UPLOAD_LIMIT // _READ):
                async with asyncio.timeout(_LINGER):
                    if not await self._receive():
                        return

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            try:
                await self._stream.send(data)
            except (BrokenResourceError, ClosedResourceError) as error:
                raise Left from error


_STATUSES: Final[list[tuple[type[RopewalkError], int]]] = [
    (NetworkDenied, 403),
    (ValueTooLarge, 413),
    (FetchTimeout, 504),
    (NetworkError, 502),
    (InvalidValue, 400),
]


def _head(answered: Answered) -> h11.Response:
    try:
        return h11.Response(
            status_code=answered.status, headers=requests.answer_headers(answered.headers), reason=answered.reason
        )
    except h11.LocalProtocolError as error:
        raise NetworkError(f"{answered.url.shown} answered what cannot be passed on: {error}") from None


def _too_large() -> ValueTooLarge:
    return ValueTooLarge(f"the request's body has more than {UPLOAD_LIMIT:,} bytes, which is the limit: send it in parts")
