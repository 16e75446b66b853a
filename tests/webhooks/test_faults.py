"""Senders that are slow, endless, or gone; and what of them a node goes on with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ropewalk.sources import tokens
from ropewalk.web.app import make_app
from ropewalk.web.server import Patience, listening
from ropewalk.web.webhooks import Bounds
from tests.harness.waiting import eventually
from tests.webhooks.conftest import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE = Patience(headers=0.5, reading=0.5, connections=20)


class Impatient:
    """The site, at a port where nobody is waited for long."""

    def __init__(self, site: Site, url: str) -> None:
        self.site = site
        self.port = int(url.rpartition(":")[2])
        self.path = f"/webhooks/{tokens.find(site.url)}"
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    def let_go(self) -> None:
        """Close what was opened."""
        for writer in self._writers:
            writer.close()

    async def ask(self, request: bytes) -> bytes:
        """Send this and return all that is answered until the connection ends."""
        reader, writer = await self.connect()
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 20)

    def head(self, *fields: str, method: str = "POST") -> bytes:
        """Return the head of a request for the webhook."""
        return "\r\n".join([f"{method} {self.path} HTTP/1.1", "Host: x", *fields, "", ""]).encode("latin-1")

    async def is_well(self) -> None:
        """Check that others are still served, that nothing was stored, and that nothing is held."""

        async def nothing_open() -> bool:
            return self.site.webhooks.open == 0

        await eventually(nothing_open, "every request to be over")
        assert self.site.webhooks._bytes == 0
        assert len(await self.site.runtime.storage.deliveries(self.site.instance)) == 0
        answer = await self.ask(self.head("Content-Length: 0", "Connection: close"))
        assert answer.startswith(b"HTTP/1.1 202 ")


@pytest_asyncio.fixture(loop_scope="session")
async def impatient(site: Site) -> AsyncIterator[Impatient]:
    async def figures() -> dict[str, tuple[str, float | dict[str, int]]]:
        return {}

    site.webhooks.bounds = Bounds(reading=0.5, body=100_000, bodies=250_000, requests=10)
    async with listening(make_app(lambda: True, figures, site.webhooks), "127.0.0.1", 0, PATIENCE) as url:
        one = Impatient(site, url)
        yield one
        one.let_go()


@pytest.mark.parametrize("said", [b"", b"POST /webh", b"POST / HTTP/1.1\r\nA: "])
async def test_a_head_that_does_not_come_is_not_waited_for(impatient: Impatient, said: bytes) -> None:
    assert await impatient.ask(said) == b""
    await impatient.is_well()


async def test_a_head_that_trickles_is_not_waited_for(impatient: Impatient) -> None:
    reader, writer = await impatient.connect()
    ended = asyncio.create_task(reader.read())
    while not ended.done():
        writer.write(b"A")
        await asyncio.sleep(0.05)  # so slowly does it come
    assert ended.result() == b""
    await impatient.is_well()


async def test_a_second_head_that_trickles_is_not_waited_for_either(impatient: Impatient) -> None:
    site = impatient.site
    other = await site.create()
    reader, writer = await impatient.connect()
    writer.write(
        impatient.head("Content-Length: 0").replace(impatient.path.encode(), b"/webhooks/" + other.rpartition("/")[2].encode())
    )
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 202 ")
    writer.write(b"POST /webhooks")
    assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_body_that_trickles_is_answered_408(impatient: Impatient) -> None:
    answer = await impatient.ask(impatient.head("Content-Length: 100") + b"x" * 10)
    assert answer.startswith(b"HTTP/1.1 408 ")
    await impatient.is_well()


async def test_an_endless_body_is_answered_413(impatient: Impatient) -> None:
    _, writer = await impatient.connect()
    writer.write(impatient.head("Transfer-Encoding: chunked"))
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    sent = 0
    try:
        while sent < 100:
            writer.write(chunk)
            await writer.drain()
            sent += 1
    except ConnectionError:
        pass

    async def refused() -> bool:
        return impatient.site.webhooks.refused["too_large"] == 1

    await eventually(refused, "it to be refused")
    await impatient.is_well()


@pytest.mark.parametrize("fields", [("Content-Length: 100001",), ("Content-Length: 99999999999", "Expect: 100-continue")])
async def test_one_that_says_it_is_too_large_is_answered_at_once(impatient: Impatient, fields: tuple[str, ...]) -> None:
    body = b"" if len(fields) > 1 else b"x" * 100_001
    answer = await impatient.ask(impatient.head(*fields) + body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    await impatient.is_well()


async def test_bodies_have_only_so_much_room_together(impatient: Impatient) -> None:
    for _ in range(2):
        _, writer = await impatient.connect()
        writer.write(impatient.head("Content-Length: 100000"))

    async def both_open() -> bool:
        return impatient.site.webhooks._bytes == 200_000

    await eventually(both_open, "both bodies to have their room")
    answer = await impatient.ask(impatient.head("Content-Length: 60000"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in answer
    impatient.let_go()
    await impatient.is_well()


async def test_only_so_many_connect(impatient: Impatient) -> None:
    for _ in range(20):
        await impatient.connect()
    assert await impatient.ask(b"") == b""
    impatient.let_go()

    async def all_gone() -> bool:
        return (await impatient.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")

    await eventually(all_gone, "the others to be gone")


async def test_one_that_breaks_off_leaves_nothing(impatient: Impatient) -> None:
    for body in (b"", b"x" * 10):
        with socket.create_connection(("127.0.0.1", impatient.port)) as half:
            half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets the connection
            half.sendall(impatient.head("Content-Length: 100") + body)
    await impatient.is_well()


async def test_one_that_does_not_wait_for_its_answer_may_come_again(impatient: Impatient) -> None:
    site = impatient.site
    with socket.create_connection(("127.0.0.1", impatient.port)) as gone:
        gone.sendall(impatient.head("Content-Length: 0", "Idempotency-Key: k"))

    async def stored() -> bool:
        return len(await site.runtime.storage.deliveries(site.instance)) == 1

    await eventually(stored, "the delivery to be stored")
    answer = await site.post(site.url, headers={"Idempotency-Key": "k"})
    assert answer.json()["queued"] is False
    assert (await site.runtime.finish(answer.json()["execution"])).status == "succeeded"


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /webhooks/ HTTP/1.1",
        "GET //webhooks/x HTTP/1.1",
        "GET /webhooks/../metrics HTTP/1.1",
        "GET http://x/webhooks/y HTTP/1.1",
    ],
)
async def test_odd_targets_lead_nowhere(impatient: Impatient, request_line: str) -> None:
    answer = await impatient.ask(f"{request_line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: -1",),
        ("Transfer-Encoding: gzip",),
        ("A B: c",),
        ("X: a\x00b",),
    ],
)
async def test_malformed_requests_are_answered_400(impatient: Impatient, fields: tuple[str, ...]) -> None:
    answer = await impatient.ask(impatient.head(*fields, "Connection: close") + b"xx")
    assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 501"}
    await impatient.is_well()


async def test_headers_have_their_bounds_too(impatient: Impatient) -> None:
    answer = await impatient.ask(impatient.head("X: " + "y" * 70_000, "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 431 ")
    with contextlib.suppress(ConnectionError):  # refused before it is read, which may reset the connection
        assert (await impatient.ask(impatient.head("X: " + "y" * 300_000))).startswith(b"HTTP/1.1 400 ")
    await impatient.is_well()


async def test_bytes_that_are_no_text_arrive(impatient: Impatient) -> None:
    site = impatient.site
    head = impatient.head("Content-Length: 2", "X-Odd: \xe9t\xe9", "Connection: close").replace(
        b" HTTP/1.1", b"/%ff%c3%a9?q=%ff HTTP/1.1", 1
    )
    assert (await impatient.ask(head + b"\xff\xfe")).startswith(b"HTTP/1.1 202")
    await site.runtime.drain()
    seen = await site.get("seen")
    assert (seen["path"], seen["params"], seen["headers"]["x-odd"], seen["raw"]) == ("\ufffdé", {"q": "\ufffd"}, "été", "fffe")


async def test_one_without_any_header_arrives(impatient: Impatient) -> None:
    site = impatient.site
    assert (await impatient.ask(f"POST {impatient.path} HTTP/1.0\r\n\r\n".encode())).startswith(b"HTTP/1.1 202")
    await site.runtime.drain()
    assert (await site.get("seen"))["headers"] == {}
