"""Connections of one tenant: to the addresses that were judged, and to no other.

A name is resolved once for a connection; unless the URL may lead to private addresses every answer must be public, the connection goes
to one of those very addresses, and the kernel is asked who the peer is. TLS and the Host header use the name. Connections are kept for
a few seconds and never shared: neither between tenants, nor between URLs that may lead to private addresses and those that may not.
No proxy and no setting of the host's environment has a say.

Before: `fetch` has a request that the guard admitted. After: `speaking`, which sends it there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import certifi
from msgspec import Struct

from ropewalk.egress.addresses import why_name_not_public
from ropewalk.egress.guard import why_refused
from ropewalk.egress.lines import Connect, Line
from ropewalk.egress.speaking import Speaker
from ropewalk.egress.urls import Url

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host, best first; raises OSError."""

_ADDRESSES_TRIED: Final = 4
_PATIENCE: Final = 3.0
"""Seconds for which an address is tried when there are others."""

_RESOLVERS: Final = 16


class Refused(Exception):
    """The host leads to an address that is not public; the message is its kind."""


class Unreachable(Exception):
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

    def __init__(self, resolve: Resolve, connect: Connect, tls: ssl.SSLContext, bounds: Bounds) -> None:
        self.slots = asyncio.Semaphore(bounds.connections)
        self.users = 0
        self.used_at = 0.0
        self._resolve = resolve
        self._connect = connect
        self._tls = tls
        self._bounds = bounds
        self._idle: list[Speaker] = []
        self._used: set[Speaker] = set()

    async def speaker(self, url: Url, *, private: bool) -> Speaker:
        """Return a connection to where this URL leads, which is the caller's until it is `returned`: one that is kept, or a new one.

        Args:
            url: admitted.
            private: whether it may lead to private addresses.

        Raises:
            Refused: it leads to an address that is not public.
            Unreachable: it leads nowhere.
            OSError: no connection can be had.
        """
        leads_to = (private, url.scheme, url.host, url.port)
        speaker = self._kept(leads_to) or Speaker(await self._line(url, private=private), leads_to)
        self._used.add(speaker)
        return speaker

    def returned(self, speaker: Speaker) -> None:
        """Keep a connection for the next request that leads there, or close it when it is of no more use."""
        self._used.discard(speaker)
        if speaker.is_spent():
            speaker.line.close()
        else:
            speaker.idle_since = asyncio.get_running_loop().time()
            self._idle.append(speaker)

    def close(self) -> None:
        """Close every connection; requests under way fail."""
        for speaker in (*self._idle, *self._used):
            speaker.line.close()
        self._idle.clear()

    def _kept(self, leads_to: object) -> Speaker | None:
        """Return the connection there that was used last, if one is kept. Otherwise see that there is room for another one."""
        oldest = asyncio.get_running_loop().time() - self._bounds.idle
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).line.close()
        for speaker in reversed(self._idle):
            if speaker.leads_to == leads_to:
                self._idle.remove(speaker)
                if speaker.line.is_quiet():
                    return speaker
                speaker.line.close()
        if self._idle and len(self._idle) + len(self._used) >= self._bounds.connections:
            self._idle.pop(0).line.close()
        return None

    async def _line(self, url: Url, *, private: bool) -> Line:
        """Connect to one of the addresses that were judged, and to no other."""
        addresses = (await judged_addresses(url.host, url.port, self._resolve, private=private))[:_ADDRESSES_TRIED]
        tls = self._tls if url.scheme == "https" else None
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await self._checked(address, url, tls)
            except ssl.SSLError:
                raise  # it is there, and the others would say the same
            except OSError:
                continue
        return await self._checked(addresses[-1], url, tls)

    async def _checked(self, address: str, url: Url, tls: ssl.SSLContext | None) -> Line:
        line = await self._connect(address, url.port, tls, url.host)
        if not line.peer or ip_address(line.peer) != ip_address(address):
            line.close()
            raise OSError("the connection does not lead to the address that was checked")
        return line


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
    context.set_alpn_protocols(["http/1.1"])
    paths = ssl.get_default_verify_paths()
    directory = Path(paths.capath) if paths.capath else None
    if not context.cert_store_stats()["x509_ca"] and not (directory is not None and any(directory.iterdir())):
        context.load_verify_locations(certifi.where())
    return context


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
