"""Sending what the guard admits: one request at a time, or with its redirects followed by hand; everything bounded.

`exchange` is the one way out: it judges a request, has it sent over a connection of its tenant's, and gives the answer while its body is
still on its way. It follows no redirect. `fetch` follows them, each one judged and sent like a request of its own, and reads the body.

Before: `hops` prepared the request. `connections` resolves, judges addresses and connects.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

import h11
import msgspec
from msgspec import Struct

from ropewalk.egress.bodies import Turn, read_body, too_large
from ropewalk.egress.connections import Bounds, Resolve, SystemResolver, Tenant, verifying_context
from ropewalk.egress.failures import told
from ropewalk.egress.guard import Guard
from ropewalk.egress.hops import REDIRECTS, Hop, Request, first_hop, redirected
from ropewalk.egress.lines import Connect, connect
from ropewalk.egress.sent import Sent
from ropewalk.egress.speaking import Speaker
from ropewalk.errors import FetchTimeout, InvalidValue, NetworkError, RopewalkError
from ropewalk.wire.messages import HttpAnswer

if TYPE_CHECKING:
    from ropewalk.egress.patterns import Pattern


def _as_it_is(hop: Hop) -> Hop:
    return hop


def _always() -> None:
    return


def _unnoted(_: Sent) -> None:
    return


class Asker(Struct, frozen=True, kw_only=True):
    """On whose behalf a request is sent, and what it may.

    Attributes:
        tenant: the instance. What is kept and bounded for it is nobody else's.
        declared: the patterns of its twist.
        about_to_send: called for every request when its connection stands and nothing of it has left yet. What it raises ends the
            request: it goes on to whoever asked, and the connection is closed.
        complete: returns a request with what the host itself adds to it, such as a credential. Asked anew for every hop of a redirect,
            so that nothing of it is carried from one to the next; it changes neither scheme, host, port nor path.
        turn: in which bodies that are large are read; whoever asks ends it.
        note: is given each request when it begins, and what is said of it later.
    """

    tenant: str
    declared: tuple[Pattern, ...]
    about_to_send: Callable[[], None] = _always
    complete: Callable[[Hop], Hop] = _as_it_is
    turn: Turn = msgspec.field(default_factory=Turn)
    note: Callable[[Sent], None] = _unnoted


class Blanking(Protocol):
    """Overwrites what an answer's reader must not see, length for length; `longest` is how many bytes that has at most."""

    longest: int

    def blank(self, data: bytes) -> bytes:
        """Return the data without it."""
        ...


class Exchange:
    """A request that was sent, and the answer to it, its body still on its way.

    Attributes:
        url: what was asked for, without what the host added.
        status: the answer's.
        reason: its reason phrase, maybe empty.
        headers: its headers in order, as they came; those of HTTP/1.1 framing among them.
    """

    def __init__(self, hop: Hop, speaker: Speaker, head: h11.Response, limit: int, sent: Sent) -> None:
        self.url = hop.url
        self.status = head.status_code
        self.reason = bytes(head.reason)
        self.headers = head.headers.raw_items()
        self._hop = hop
        self._speaker = speaker
        self._limit = limit
        self._sent = sent
        self._blanking: Blanking | None = None

    def blank(self, blanking: Blanking) -> None:
        """Have the headers and the body, which must not be compressed, go through `blanking`."""
        self._blanking = blanking
        self.headers = [(name, blanking.blank(value)) for name, value in self.headers]

    def header(self, name: bytes) -> str:
        """Return the first value of a header, "" when there is none; bytes that are no UTF-8 are read as Latin-1."""
        for key, value in self.headers:
            if key.lower() == name:
                try:
                    return value.decode("utf-8")
                except UnicodeDecodeError:
                    return value.decode("latin-1")
        return ""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Give the body as it comes: without the framing, still with its Content-Encoding.

        Raises:
            NetworkError: the connection broke.
            ValueTooLarge: there is more than the bound.
        """
        left = self._limit
        held = b""
        with told(self._hop):
            async for chunk in self._speaker.body():
                left -= len(chunk)
                self._sent.received += len(chunk)
                if left < 0:
                    raise too_large(self.url.shown, self._limit)
                if self._blanking is None:
                    yield chunk
                    continue
                ready, held = _ready(self._blanking, held + chunk)
                if ready:
                    yield ready
        if held:
            yield held

    async def read(self, turn: Turn) -> HttpAnswer:
        """Read the whole body, decompressed. Raises as `chunks`; what is beyond `SMALL` bytes in its `turn`."""
        announced = self.header(b"content-length")
        if announced.isdigit() and int(announced[:20]) > self._limit and self._hop.method != "HEAD":
            raise too_large(self.url.shown, self._limit)
        async with aclosing(self.chunks()) as chunks:
            body = await read_body(chunks, self.header(b"content-encoding"), self._limit, self.url.shown, turn)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        return HttpAnswer(status=self.status, headers=headers, body=body, url=self.url.text)


class Fetcher:
    """Makes HTTP requests for twists, between `start` and `stop`.

    Args:
        private: patterns of URLs that may lead to private addresses, for twists that declare them too.
        bounds: sizes, times and counts.
        resolve: how names become addresses; the system's resolver unless given.
        connect: how addresses are connected to; by the system's sockets unless given.
        tls: how servers are verified; by the system's authorities unless given.
    """

    def __init__(
        self,
        *,
        private: Iterable[Pattern] = (),
        bounds: Bounds | None = None,
        resolve: Resolve | None = None,
        connect: Connect = connect,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.private = tuple(private)
        self._bounds = bounds or Bounds()
        self._system = SystemResolver()
        self._resolve = resolve or self._system
        self._connect = connect
        self._tls = tls
        self._tenants: OrderedDict[str, Tenant] = OrderedDict()
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
        while self._tenants:
            _, tenant = self._tenants.popitem()
            tenant.close()
        self._system.stop()

    async def fetch(self, request: Request, asker: Asker) -> HttpAnswer:
        """Send a request and return the last answer of its redirects.

        Its time runs from when it is its turn: an instance has `Bounds.connections` requests under way, and others wait.

        Raises:
            NetworkDenied: a hop's URL is not declared, leads to an address that is not public, or may not be followed.
            NetworkError: a name, connection, TLS or the protocol failed; FetchTimeout when `request.timeout` passed.
            InvalidValue: the request is malformed.
            ValueTooLarge: the answer's body or the request's headers are.
        """
        if not (math.isfinite(request.timeout) and request.timeout > 0):
            raise InvalidValue(f"a timeout of {request.timeout:g} s is none: give seconds above 0")
        seconds = min(request.timeout, self._bounds.timeout)
        hop = first_hop(request)
        async with self._taking_part(asker) as tenant:
            try:
                async with asyncio.timeout(seconds):
                    return await self._follow(hop, asker, tenant)
            except TimeoutError:
                raise FetchTimeout(
                    f"{hop.method} {hop.url.shown} took longer than its timeout of {seconds:g} s: give it more, or ask for less"
                ) from None

    @asynccontextmanager
    async def exchange(self, hop: Hop, asker: Asker) -> AsyncGenerator[Exchange, None]:
        """Send one request and give its answer, whatever it is, within the block; when the block is left it is over.

        Takes no time of its own: whoever asks bounds it.

        Raises:
            NetworkDenied: the URL is not declared, or leads to an address that is not public.
            NetworkError: a name, connection, TLS or the protocol failed.
        """
        async with self._taking_part(asker) as tenant, self._exchange(hop, asker, tenant) as exchange:
            yield exchange

    async def _follow(self, hop: Hop, asker: Asker, tenant: Tenant) -> HttpAnswer:
        for number in range(self._bounds.redirects + 1):
            async with self._exchange(hop, asker, tenant, number) as exchange:
                if exchange.status not in REDIRECTS or not (location := exchange.header(b"location")):
                    return await exchange.read(asker.turn)
            hop = redirected(hop, exchange.status, location)
        raise NetworkError(f"{hop.url.shown} is the target of more than {self._bounds.redirects} redirects, which is the limit")

    @asynccontextmanager
    async def _exchange(self, hop: Hop, asker: Asker, tenant: Tenant, number: int = 0) -> AsyncGenerator[Exchange, None]:
        with _noted(hop, asker, number) as sent:
            private = Guard(declared=asker.declared, private=self.private).admit(hop.url)
            asked = asker.complete(hop)
            with told(hop):
                speaker = await tenant.speaker(hop.url, private=private)
            try:
                asker.about_to_send()
                with told(hop):
                    head = await speaker.ask(asked)
                sent.status = head.status_code
                yield Exchange(hop, speaker, head, self._bounds.body, sent)
            finally:
                tenant.returned(speaker)

    # ── Tenants ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _taking_part(self, asker: Asker) -> AsyncGenerator[Tenant, None]:
        """Wait until the tenant may have one more request under way, and have it so within the block."""
        assert self._tls is not None, "start() comes first"
        tenant = self._tenants.get(asker.tenant)
        if tenant is None:
            tenant = self._tenants[asker.tenant] = Tenant(self._resolve, self._connect, self._tls, self._bounds)
        self._tenants.move_to_end(asker.tenant)
        tenant.users += 1
        try:
            async with tenant.slots:
                yield tenant
        finally:
            tenant.users -= 1
            tenant.used_at = asyncio.get_running_loop().time()

    async def _sweep(self) -> None:
        """Close what has been idle, and the longest unused connections beyond the bound."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._bounds.idle)
            oldest = loop.time() - self._bounds.idle
            for name, tenant in list(self._tenants.items()):
                unwanted = tenant.used_at <= oldest or len(self._tenants) > self._bounds.tenants
                if unwanted and not tenant.users:
                    del self._tenants[name]
                    tenant.close()


@contextmanager
def _noted(hop: Hop, asker: Asker, number: int) -> Iterator[Sent]:
    """Note a request, and what has become of it when the block is left."""
    clock = asyncio.get_running_loop().time
    began, sent = clock(), Sent(method=hop.method, url=hop.url.text, hop=number)
    asker.note(sent)
    try:
        yield sent
    except RopewalkError as error:
        sent.error, sent.message = type(error).__name__, str(error)
        raise
    except asyncio.CancelledError:
        sent.error, sent.message = "Cancelled", "it was given up: its time was over, or whoever asked had gone"
        raise
    finally:
        sent.took = round((clock() - began) * 1e6)


def _ready(blanking: Blanking, data: bytes) -> tuple[bytes, bytes]:
    """Return what of the data is blanked for good, and the rest, which may begin with part of what is to be blanked."""
    data = blanking.blank(data)
    split = max(0, len(data) - blanking.longest + 1)
    return data[:split], data[split:]
