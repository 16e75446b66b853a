"""Sending what the guard admits: connections to the addresses that were judged, redirects by hand, everything bounded.

A name is resolved once for a connection; unless the URL may lead to private addresses every answer must be public, the connection goes
to one of those very addresses, and the kernel is asked who the peer is. TLS and the Host header use the name. Connections are kept for
a few seconds and never shared: neither between tenants, nor between URLs that may lead to private addresses and those that may not.
No proxy and no setting of the host's environment has a say.

Before: `hops` prepared the request. The HTTP is httpcore's, which httpx is built on: it sends the URL as it is given.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import certifi
import httpcore
from msgspec import Struct

from ropewalk.egress.bodies import read_body, too_large
from ropewalk.egress.guard import Guard, not_public, why_refused
from ropewalk.egress.hops import REDIRECTS, Hop, Request, first_hop, redirected
from ropewalk.errors import FetchTimeout, InvalidValue, NetworkError
from ropewalk.wire.messages import HttpAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ropewalk.egress.patterns import Pattern

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host, best first; raises OSError."""

_ADDRESSES_TRIED: Final = 4
_RESOLVERS: Final = 16


class Bounds(Struct, frozen=True, kw_only=True):
    """What requests may take. Bytes, seconds and counts.

    `idle` is shorter than the five seconds after which common servers close, so that a kept connection is rarely found closed.
    """

    body: int = 32 * 1024 * 1024
    timeout: float = 300.0
    redirects: int = 5
    connections: int = 20
    idle: float = 4.0
    tenants: int = 256


class Fetcher:
    """Makes HTTP requests for twists, between `start` and `stop`.

    Args:
        private: patterns of URLs that may lead to private addresses, for twists that declare them too.
        bounds: sizes, times and counts.
        resolve: how names become addresses; the system's resolver unless given.
        tls: how servers are verified; by the system's authorities unless given.
    """

    def __init__(
        self,
        *,
        private: Iterable[Pattern] = (),
        bounds: Bounds | None = None,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.private = tuple(private)
        self._bounds = bounds or Bounds()
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")
        self._resolve = resolve or self._ask_system
        self._tls = tls
        self._pools: OrderedDict[tuple[str, bool], _Pool] = OrderedDict()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Be ready to fetch."""
        if self._tls is None:
            self._tls = verifying_context()
        self._sweeper = asyncio.create_task(self._sweep(), name="egress sweeper")

    async def stop(self) -> None:
        """Close every connection; requests under way fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.http.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, request: Request, *, tenant: str, declared: tuple[Pattern, ...]) -> HttpAnswer:
        """Send a request for `tenant`, whose twist declares these patterns, and return the last answer of its redirects.

        Raises:
            NetworkDenied: a hop's URL is not declared, leads to an address that is not public, or may not be followed.
            NetworkError: a name, connection, TLS or the protocol failed; FetchTimeout when `request.timeout` passed.
            InvalidValue: the request is malformed.
            ValueTooLarge: the answer's body or the request's headers are.
        """
        if not (math.isfinite(request.timeout) and request.timeout > 0):
            raise InvalidValue(f"a timeout of {request.timeout:g} s is none: give seconds above 0")
        guard = Guard(declared=declared, private=self.private)
        seconds = min(request.timeout, self._bounds.timeout)
        hop = first_hop(request)
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(hop, tenant, guard)
        except TimeoutError:
            raise FetchTimeout(f"{hop.method} {hop.url.shown} took longer than its timeout of {seconds:g} s") from None

    async def _follow(self, hop: Hop, tenant: str, guard: Guard) -> HttpAnswer:
        for _ in range(self._bounds.redirects + 1):
            private = guard.admit(hop.url)
            async with self._pool(tenant, private) as pool:
                answer = await self._send(pool, hop)
            if isinstance(answer, HttpAnswer):
                return answer
            hop = redirected(hop, *answer)
        raise NetworkError(f"{hop.url.shown} is the target of more than {self._bounds.redirects} redirects, which is the limit")

    async def _send(self, pool: httpcore.AsyncConnectionPool, hop: Hop) -> HttpAnswer | tuple[int, str]:
        """Return the answer, or the status and location of a redirect."""
        try:
            response = await pool.handle_async_request(_to_core(hop))
            try:
                if response.status in REDIRECTS and (location := _header(response.headers, b"location")):
                    return response.status, location
                return await self._read(response, hop)
            finally:
                await response.aclose()
        except _Refused as error:
            raise not_public(hop.url, str(error)) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            what = str(error) or type(error).__name__
            raise NetworkError(f"{hop.method} {hop.url.shown} failed: {what}") from None

    async def _read(self, response: httpcore.Response, hop: Hop) -> HttpAnswer:
        limit = self._bounds.body
        announced = _header(response.headers, b"content-length")
        if announced.isdigit() and int(announced[:20]) > limit and hop.method != "HEAD":
            raise too_large(hop.url.shown, limit)
        body = await read_body(response.aiter_stream(), _header(response.headers, b"content-encoding"), limit, hop.url.shown)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
        return HttpAnswer(status=response.status, headers=headers, body=body, url=hop.url.text)

    # ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _pool(self, tenant: str, private: bool) -> AsyncGenerator[httpcore.AsyncConnectionPool, None]:
        assert self._tls is not None, "start() comes first"
        pool = self._pools.get((tenant, private))
        if pool is None:
            backend = _JudgedBackend(self._resolve, private=private)
            pool = self._pools[tenant, private] = _Pool(backend, self._tls, self._bounds)
        self._pools.move_to_end((tenant, private))
        pool.busy += 1
        try:
            yield pool.http
        finally:
            pool.busy -= 1
            pool.used_at = asyncio.get_running_loop().time()

    async def _sweep(self) -> None:
        """Close what has been idle, and the longest unused pools beyond the bound."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._bounds.idle)
            oldest = loop.time() - self._bounds.idle
            for key, pool in list(self._pools.items()):
                unwanted = pool.used_at <= oldest or len(self._pools) > self._bounds.tenants
                if unwanted and not pool.busy:
                    del self._pools[key]
                    await pool.http.aclose()

    async def _ask_system(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def verifying_context() -> ssl.SSLContext:
    """Return a context that verifies servers by the system's authorities, or by certifi's where the system has none."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    directory = Path(paths.capath) if paths.capath else None
    if not context.cert_store_stats()["x509_ca"] and not (directory is not None and any(directory.iterdir())):
        context.load_verify_locations(certifi.where())
    return context


class _Pool:
    """The connections of one tenant, either to public addresses or wherever the operator allows."""

    __slots__ = ("busy", "http", "used_at")

    def __init__(self, backend: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext, bounds: Bounds) -> None:
        self.http = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=bounds.connections,
            max_keepalive_connections=bounds.connections,
            keepalive_expiry=bounds.idle,
            network_backend=backend,
        )
        self.busy = 0
        self.used_at = 0.0


class _Refused(Exception):
    """The host leads to an address that is not public; the message is its kind."""


class _JudgedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that it has judged, and to no other."""

    def __init__(self, resolve: Resolve, *, private: bool) -> None:
        self._resolve = resolve
        self._private = private
        self._connector = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._judged(host, port)
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

    async def _judged(self, host: str, port: int) -> list[str]:
        try:
            answers = [host] if _is_address(host) else await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved: {error.strerror or error}") from None
        if not answers:
            raise httpcore.ConnectError(f"the name {host} has no address")
        if not self._private and (why := why_refused(map(ip_address, answers))):
            raise _Refused(why)
        return answers[:_ADDRESSES_TRIED]

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


def _to_core(hop: Hop) -> httpcore.Request:
    url = hop.url
    return httpcore.Request(
        hop.method,
        httpcore.URL(scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode("ascii")),
        headers=hop.wire_headers(),
        content=hop.body,
    )


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    """Return the first value of a header, "" when there is none; bytes that are no UTF-8 are read as Latin-1."""
    for key, value in headers:
        if key.lower() == name:
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                return value.decode("latin-1")
    return ""
