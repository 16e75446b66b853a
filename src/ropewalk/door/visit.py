"""The connections that one attempt has opened to the door: served while it runs, closed when it ends.

The attempt is known as a `Guest` (`interface`). Each connection is served by a task of its own; how many there are at once is bounded, and
what one takes of the node's memory is: a head, a piece of a body in each direction, what the kernel keeps. Nothing here waits for a guest
longer than its attempt lasts, so that one that is slow holds up nobody but itself.

Before: `dispatch.attempt`, which was given the connection by the kernel's word (`sandbox.doorway`). After: `proxy`, which speaks HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Final

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from ropewalk.door.interface import Guest
from ropewalk.door.proxy import Left, Proxy
from ropewalk.egress.urls import Url
from ropewalk.sandbox.authority import Authority

MOST: Final = 64
"""Connections that an attempt may have open at once. Clients keep ten or twenty, and say how many they may."""

_logger: Final = logging.getLogger(__name__)
_NOT_TLS: Final = frozenset({"HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"})


class Visit:
    """All connections of one attempt.

    Args:
        guest: the attempt.
        authority: ends their TLS.
    """

    def __init__(self, guest: Guest, authority: Authority) -> None:
        self._guest = guest
        self._authority = authority
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, connection: socket.socket) -> None:
        """Serve a connection until it closes, or until `end`."""
        if len(self._tasks) >= MOST:
            connection.close()
            self._guest.count_request()
            self._guest.warn(
                f"a connection was closed: {MOST} are open, which is the limit: close some, or have the client keep fewer"
            )
            return
        task = asyncio.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Close every connection; requests under way are given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            stream = await SocketStream.from_socket(connection)
        except (OSError, ValueError):  # it is broken already
            connection.close()
            return
        try:
            await self._serve_stream(stream)
        except (Left, BrokenResourceError, ClosedResourceError, EndOfStream):
            pass  # whoever asked has gone: the connection is its own affair
        except Exception:
            # A fault of the host's own must not take the node, nor the other instances, with it.
            _logger.exception("a connection of execution %s failed", self._guest.execution)
        finally:
            await stream.aclose()

    async def _serve_stream(self, stream: SocketStream) -> None:
        proxy = Proxy(stream, self._guest)
        origin = await proxy.serve()
        if origin is not None:
            await self._serve_tunnel(stream, origin)
        elif not proxy.requests:
            self._guest.count_request()  # connecting is not free either

    async def _serve_tunnel(self, stream: SocketStream, origin: Url) -> None:
        """End TLS in the place of `origin`, and serve what is said within it. One that brings no request is told of, however it ends."""
        why, requests = _UNTRUSTED, 0
        try:
            context = self._authority.context_for(origin.host)
            inner = await TLSStream.wrap(stream, server_side=True, ssl_context=context, standard_compatible=False)
            proxy = Proxy(inner, self._guest, origin)
            try:
                await proxy.serve()
            finally:
                requests = proxy.requests
        except ssl.SSLError as error:
            why = f"{_NO_TLS if error.reason in _NOT_TLS else _UNTRUSTED} ({error.reason})"
        finally:
            if not requests:
                self._guest.count_request()
                self._guest.warn(f"a client had a tunnel made to {origin.authority} and sent no request through it: {why}")


_NO_TLS: Final = "what it sent is no TLS, and only https goes by CONNECT"
_UNTRUSTED: Final = (
    "one that expects a certain certificate (a fingerprint, a pin), or takes no authorities but its own, ends like this. The host ends TLS "
    "with an authority of its own and verifies the real server itself: have the client trust what SSL_CERT_FILE names, and pin nothing"
)
