"""HTTP/1.1 on one line: a request, the answer to it, and the next one when both were whole.

h11 parses and frames, strictly and within bounds. Requests are sent as they are given: no header is added or changed. A line on which
anything was cut short, or said unasked, is never used again.

Before: `connections` has a line for the request. After: `fetch`, which reads the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import h11

from ropewalk.egress.hops import Hop
from ropewalk.egress.lines import Line

_HEAD_LIMIT: Final = 100 * 1024
"""Most bytes of an answer's status line and headers."""


class Speaker:
    """Speaks HTTP on a line that leads where `leads_to` says; `idle_since` is when it was last used, by the event loop's clock."""

    def __init__(self, line: Line, leads_to: object) -> None:
        self.line = line
        self.leads_to = leads_to
        self.idle_since = 0.0
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT)

    async def ask(self, hop: Hop) -> h11.Response:
        """Send a request and return how the answer to it begins. Raises OSError, h11.ProtocolError."""
        http = self._http
        request = h11.Request(method=hop.method, target=hop.url.target, headers=hop.wire_headers())
        head = http.send(request) or b""
        if isinstance(hop.body, bytes):
            await self.line.write(head + (http.send(h11.Data(data=hop.body)) or b"") + (http.send(h11.EndOfMessage()) or b""))
        else:
            await self._send_pieces(head, hop)
        while not isinstance(event := await self._next(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("the server closed the connection without an answer")
        return event

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Give the answer's body as it comes, without its framing. Raises OSError, h11.ProtocolError."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    def is_spent(self) -> bool:
        """Whether nothing more may be asked here; if it may, it is ready for that now."""
        http = self._http
        try:
            while http.their_state is h11.SEND_BODY and isinstance(http.next_event(), h11.Data):
                pass  # the rest of a body that nobody wants, as far as it is here already
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE or http.trailing_data[0]:
                return True
        except h11.RemoteProtocolError:
            return True
        http.start_next_cycle()
        return False

    async def _send_pieces(self, head: bytes, hop: Hop) -> None:
        """Send a request whose body comes piece by piece. A server that wants no more of it may have answered nevertheless."""
        assert not isinstance(hop.body, bytes)
        if not await self._taken(head):
            return
        async for piece in hop.body:
            if not await self._taken(self._http.send(h11.Data(data=piece)) or b""):
                return
        await self._taken(self._http.send(h11.EndOfMessage()) or b"")

    async def _taken(self, data: bytes) -> bool:
        try:
            await self.line.write(data)
        except OSError:
            return False
        return True

    async def _next(self) -> h11.Event | None:
        """Return what the server says next; None when it says no more."""
        http = self._http
        while (event := http.next_event()) is h11.NEED_DATA:
            data = await self.line.read()
            if not data and http.their_state is h11.SEND_RESPONSE:
                return None
            http.receive_data(data)
        return event if isinstance(event, h11.Event) else None
