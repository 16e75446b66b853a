"""Lines to servers: TCP, and TLS on top of it, byte by byte.

What is said on a line stays in the kernel while nobody reads it. A line is used by one task at a time. Before: `connections` has judged the
address that is connected to. After: `speaking` makes HTTP of it.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

_MOST_READ: Final = 64 * 1024
"""Bytes that wait to be read, from which on no more are taken from the kernel."""


class Line(Protocol):
    """A connection to a server."""

    peer: str
    """The address that the kernel says it leads to."""

    async def read(self) -> bytes:
        """Return what has come, b"" when the server says no more. Raises OSError."""
        ...

    async def write(self, data: bytes) -> None:
        """Send data, as soon as what was sent before is mostly gone. Raises OSError."""
        ...

    def is_quiet(self) -> bool:
        """Whether it is open, and nothing has come that was not read."""
        ...

    def close(self) -> None:
        """Close it at once, in the midst of whatever is said."""
        ...


Connect = Callable[[str, int, ssl.SSLContext | None, str], Awaitable[Line]]
"""Connects to an address and port, with TLS in the name of a host where there is a context. Raises OSError; cancelled, it leaves nothing open."""


async def connect(address: str, port: int, tls: ssl.SSLContext | None, host: str) -> Line:
    """Connect by the system's sockets. See `Connect`."""
    loop = asyncio.get_running_loop()
    name = None if tls is None else host
    _, line = await loop.create_connection(_Socket, address, port, ssl=tls, server_hostname=name)
    return line


class _Socket(asyncio.Protocol):
    """A line of asyncio's."""

    def __init__(self) -> None:
        self.peer = ""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._reading = True
        self._writing = True
        self._ended = False
        self._error: Exception | None = None
        self._change: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """See `Line`."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._changed()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._waiting = [], 0
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """See `Line`."""
        while not self._writing and not self._is_closed():
            await self._changed()
        if self._is_closed():
            raise self._error or ConnectionResetError("the server has closed the connection")
        self._transport.write(data)

    def is_quiet(self) -> bool:
        """See `Line`. The kernel is asked too: what it has may not have been read yet."""
        if self._pieces or self._ended or self._is_closed():
            return False
        said = select.poll()
        said.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return not said.poll(0)

    def close(self) -> None:
        """See `Line`."""
        self._transport.abort()

    # ── What asyncio calls ───────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; with TLS, its handshake is over."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = (transport.get_extra_info("peername") or ("",))[0]

    def data_received(self, data: bytes) -> None:
        """Data has come."""
        self._pieces.append(data)
        self._waiting += len(data)
        if self._reading and self._waiting > _MOST_READ:
            self._reading = False
            self._transport.pause_reading()
        self._note_change()

    def eof_received(self) -> None:
        """The server says no more, and is told no more."""
        self._ended = True
        self._note_change()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._ended, self._error = True, exc
        self._note_change()

    def pause_writing(self) -> None:
        """What was sent waits for the server to take it."""
        self._writing = False

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._writing = True
        self._note_change()

    def _is_closed(self) -> bool:
        return self._error is not None or self._transport.is_closing()

    async def _changed(self) -> None:
        self._change = self._loop.create_future()
        try:
            await self._change
        finally:
            self._change = None

    def _note_change(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
