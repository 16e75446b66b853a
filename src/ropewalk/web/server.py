"""Serves an application on a port for as long as a block runs.

Whoever connects has a while to say what it wants, and to read the answer: connections that trickle or rest are ended, and only so many are
open at once. What a request may take from there on is the application's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator
from typing import Any, ClassVar, cast

import uvicorn
from msgspec import Struct
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from ropewalk.web.app import App
from ropewalk.web.webhooks import BODY_IS_THERE


class Patience(Struct, frozen=True, kw_only=True):
    """How long a connection may take: seconds until a request's headers are there, seconds in which its answer is read; and how many
    connections are open at once.
    """

    headers: float = 10.0
    reading: float = 30.0
    connections: int = 4096


class _OnePiece:
    """A transport whose writes leave together: what is written in one turn of the event loop, head and body of an answer, is sent at once.

    A call of the system for each would cost as much as all else that is done for a small answer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Have data sent soon."""
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        """Send what was written, and close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        written, self._written = self._written, []
        if written:
            self._transport.write(b"".join(written))


class _Connection(H11Protocol):
    """A connection that is ended when it takes too long."""

    patience: ClassVar[Patience]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        whole = _OnePiece(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", whole))
        if len(self.connections) > self.patience.connections:
            self.transport.abort()
        else:
            self._wait(self.patience.headers)

    def data_received(self, data: bytes) -> None:
        """Go on waiting, from the first byte of a request until its headers are whole."""
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            self._wait(None)
            if not cycle.more_body:
                cast("dict[str, object]", cycle.scope)[BODY_IS_THERE] = True
        elif self._timer is None:
            self._wait(self.patience.headers)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that rests, once what was sent on it is read."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._wait(self.patience.reading)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait(None)
        super().connection_lost(exc)

    def _wait(self, seconds: float | None) -> None:
        """Have the connection broken off after so many seconds, unless it is told otherwise before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class _Server(uvicorn.Server):
    """A server that leaves signals to the node, which drains before it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


@contextlib.asynccontextmanager
async def listening(app: App, host: str, port: int, patience: Patience = Patience()) -> AsyncIterator[str]:  # noqa: B008 - frozen
    """Serve `app` within the block; gives the URL that it listens on.

    Raises:
        OSError: the address is taken or cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=512) as listener:
        # Connections take this from it; asyncio sets it for sockets that name their protocol alone. Head and body are written apart: the
        # second would wait for the first to be acknowledged, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = listener.getsockname()[1]
        protocol = type("_PatientConnection", (_Connection,), {"patience": patience})
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            proxy_headers=False,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        finally:
            server.should_exit = True
            await serving
