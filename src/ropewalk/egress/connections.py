"""Connections of one tenant: to the addresses that were judged, and to no other.

A name is resolved once for a connection; unless the URL may lead to private addresses every answer must be public, the connection goes
to one of those very addresses, and the kernel is asked who the peer is. TLS and the Host header use the name. Connections are kept for
a few seconds and never shared: neither between tenants, nor between URLs that may lead to private addresses and those that may not.
No proxy and no setting of the host's environment has a say.

Before: `fetch` has a request that the guard admitted. The HTTP is httpcore's, which httpx is built on: it sends the URL as it is given.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import certifi
import httpcore
from msgspec import Struct

from ropewalk.egress.addresses import why_name_not_public
from ropewalk.egress.guard import why_refused

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host, best first; raises OSError."""

_ADDRESSES_TRIED: Final = 4
_RESOLVERS: Final = 16


class Refused(Exception):
    """The host leads to an address that is not public; the message is its kind."""


class Unreachable(httpcore.ConnectError):
    """The host has no address."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What requests may take. Bytes, seconds and counts; `connections`, also the requests at once, for each tenant.

    `idle` is shorter than the five seconds after which common servers close, so that a kept connection is rarely found closed.
    """

    body: int = 32 * 1024 * 1024
    timeout: float = 300.0
    redirects: int = 5
    connections: int = 20
    idle: float = 4.0
    tenants: int = 256


class Tenant:
    """What is kept for one instance, and shared with no other.

    Attributes:
        slots: one for each request that may be under way.
        users: requests under way or waiting.
        used_at: when there was the last one, by the event loop's clock.
    """

    def __init__(self, resolve: Resolve, connector: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext, bounds: Bounds) -> None:
        self.slots = asyncio.Semaphore(bounds.connections)
        self.users = 0
        self.used_at = 0.0
        self._resolve = resolve
        self._connector = connector
        self._tls = tls
        self._bounds = bounds
        self._pools: dict[bool, httpcore.AsyncConnectionPool] = {}

    def pool(self, *, private: bool) -> httpcore.AsyncConnectionPool:
        """Return its connections to public addresses, or those to wherever the operator allows."""
        pool = self._pools.get(private)
        if pool is None:
            pool = self._pools[private] = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=self._bounds.connections,
                max_keepalive_connections=self._bounds.connections,
                keepalive_expiry=self._bounds.idle,
                network_backend=_JudgedBackend(self._resolve, self._connector, private=private),
            )
        return pool

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.aclose()


class SystemResolver:
    """The system's resolver, asked in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, best first. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def stop(self) -> None:
        """Answer nobody any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def judged_addresses(host: str, port: int, resolve: Resolve, *, private: bool) -> list[str]:
    """Return the addresses to which a connection to `host` may be made, best first.

    Args:
        host: a name or an address, as `urls` brings it.
        port: what is connected to there.
        resolve: asked once, unless the host is an address.
        private: whether addresses may be private.

    Raises:
        Refused: one of them is not public.
        Unreachable: there are none.
    """
    if not private and (why := why_name_not_public(host)):
        raise Refused(why)
    try:
        answers = [host] if _is_address(host) else await resolve(host, port)
    except OSError as error:
        raise Unreachable(f"the name {host} cannot be resolved: {error.strerror or error}") from error
    if not answers:
        raise Unreachable(f"the name {host} has no address")
    if not private and (why := why_refused(map(ip_address, answers))):
        raise Refused(why)
    return answers


def verifying_context() -> ssl.SSLContext:
    """Return a context that verifies servers by the system's authorities, or by certifi's where the system has none."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    directory = Path(paths.capath) if paths.capath else None
    if not context.cert_store_stats()["x509_ca"] and not (directory is not None and any(directory.iterdir())):
        context.load_verify_locations(certifi.where())
    return context


class _JudgedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that it has judged, and to no other."""

    def __init__(self, resolve: Resolve, connector: httpcore.AsyncNetworkBackend, *, private: bool) -> None:
        self._resolve = resolve
        self._connector = connector
        self._private = private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = (await judged_addresses(host, port, self._resolve, private=self._private))[:_ADDRESSES_TRIED]
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(addresses[-1], port, timeout)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("twists reach no unix sockets")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _connect(self, address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        stream = await self._connector.connect_tcp(address, port, timeout)
        peer = stream.get_extra_info("server_addr")
        if peer is None or ip_address(peer[0]) != ip_address(address):
            await stream.aclose()
            raise httpcore.ConnectError("the connection does not lead to the address that was checked")
        return _Connection(stream)


class _Connection(httpcore.AsyncNetworkStream):
    """A connection that is closed when its TLS handshake is cancelled, which httpcore's own leaves to the garbage collector."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except asyncio.CancelledError:
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
