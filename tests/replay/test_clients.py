"""Requests of ordinary HTTP clients are recorded at the door, and answered from the record when the attempt is replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.recording.exchanges import Exchange, decode
from tests.door.origin import PIECE, Origin, serving
from tests.egress.origin import CERTIFICATES
from tests.harness.door import needs_door
from tests.harness.runtime import Runtime
from tests.replay.playing import Played, play, written
from tests.replay.reading import last_execution, last_record

pytestmark = [pytest.mark.asyncio(loop_scope="session"), needs_door]

Opens = Callable[..., AbstractAsyncContextManager[Runtime]]

TOKEN = "a-secret-token-fxk2"

TWIST = """
import asyncio, hashlib, http.client, os, threading, urllib.error, urllib.request
from ropewalk import Options, Secret, Twist, secret
from ropewalk.tools import Network

def ask(url, **options):
    with urllib.request.urlopen(urllib.request.Request(url, **options)) as answer:
        return answer.status, answer.read().decode()

class Where(Options):
    plain: str
    secure: str
    token: Secret = secret()

class Clients(Twist):
    options: Where
    network = Network(urls=["{plain}/*", "{secure}/*", "https://api.example.com/below/*"])

    async def work(self):
        first = ask(self.options.plain + "/echo?a=1")
        await self.set("first", first[1])
        second = ask(self.options.secure + "/echo", data=b'{"n": 1}', method="PUT")
        fetched = await self.network.fetch(self.options.plain + "/echo?fetched")
        await self.set("second", second[1])
        return [first, second, fetched.text()]

    async def stream(self):
        pieces = (bytes([number]) * 100_000 for number in range(3))
        sent = ask(self.options.secure + "/echo", data=pieces, method="PUT")
        digest, size = hashlib.sha256(), 0
        with urllib.request.urlopen(self.options.plain + "/stream?pieces=4") as answer:
            while piece := answer.read(10_000):
                digest.update(piece)
                size += len(piece)
        return [sent, size, digest.hexdigest()]

    async def refused(self):
        seen = []
        for url in ("http://example.com/", "https://example.com/", "https://api.example.com/above", self.options.plain + "/status/404"):
            try:
                ask(url)
            except urllib.error.HTTPError as error:
                seen.append([error.code, error.reason, error.read().decode()])
            except urllib.error.URLError as error:
                seen.append(str(error))
        return seen

    async def redirected(self):
        return ask(self.options.plain + "/redirect?to=" + self.options.secure + "/echo")

    async def at_once(self):
        urls = [f"{self.options.secure}/echo?{number}" for number in range(8)]
        return sorted(text for _, text in await asyncio.gather(*(asyncio.to_thread(ask, url) for url in urls)))

    async def identify(self):
        headers = {"Authorization": "Bearer a-credential", "Cookie": "a=session", "X-Own": self.options.token.reveal()}
        return len(ask(f"{self.options.secure}/echo?key={self.options.token.reveal()}", headers=headers, data=self.options.token.reveal().encode())[1]) > 0

    async def upload(self):
        boundary = os.urandom(16).hex()
        body = f"--{boundary}\\r\\nContent-Disposition: form-data; name=a\\r\\n\\r\\nb\\r\\n--{boundary}--\\r\\n".encode()
        ask(self.options.plain + "/echo", data=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})

    async def leave_early(self):
        with urllib.request.urlopen(self.options.plain + "/wait") as answer:
            return answer.read(5).decode()

    async def break_off(self):
        try:
            with urllib.request.urlopen(self.options.plain + "/stream?pieces=600") as answer:
                return len(answer.read())
        except http.client.IncompleteRead:
            return "broken off"
"""


@dataclass
class Clients:
    """An instance of the twist, and the servers that it reaches."""

    runtime: Runtime
    instance: str
    plain: Origin
    secure: Origin

    @property
    def asked(self) -> int:
        """How many requests the servers have had."""
        return len(self.plain.asked) + len(self.secure.asked)

    async def replay(self, method: str, code: Path | None = None) -> Played:
        """Replay the last execution of a method; nobody is asked for anything."""
        asked = self.asked
        played = await play(self.runtime, await last_execution(self.runtime, self.instance, method), code=code)
        assert self.asked == asked
        return played

    async def exchanges(self, method: str) -> list[Exchange]:
        """Return what was recorded of its requests."""
        record = await last_record(self.runtime, await last_execution(self.runtime, self.instance, method))
        return [decode(exchange) for exchange in record.exchanges]


@pytest_asyncio.fixture(loop_scope="session")
async def origins(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Origin, Origin]]:
    """A server without TLS, and one with it, which the host trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    async with serving(tls=False) as plain, serving(tls=True) as secure:
        yield plain, secure


@pytest_asyncio.fixture(loop_scope="session")
async def clients(opened: Opens, origins: tuple[Origin, Origin]) -> AsyncIterator[Clients]:
    """The twist, and records as long as they are by default."""
    async with opened(allow_private=tuple(f"{origin.url}/*" for origin in origins)) as runtime:
        yield await activated(runtime, origins)


async def activated(runtime: Runtime, origins: tuple[Origin, Origin]) -> Clients:
    """Activate the twist."""
    plain, secure = origins
    return Clients(runtime, await runtime.run(TWIST, plain=plain.url, secure=secure.url, token=TOKEN), plain, secure)


@pytest.mark.parametrize("method", ["work", "stream", "refused", "redirected", "at_once", "identify", "upload", "leave_early"])
async def test_what_clients_did_is_answered_from_the_record(clients: Clients, method: str) -> None:
    await clients.runtime.invoke(clients.instance, method)
    played = await clients.replay(method)
    assert played.shown.same, played.told


async def test_an_exchange_is_recorded_as_it_passed(clients: Clients) -> None:
    _, size, _ = await clients.runtime.invoke(clients.instance, "stream")
    sent, received = await clients.exchanges("stream")
    assert (sent.method, sent.url, sent.body) == (
        "PUT",
        f"{clients.secure.url}/echo",
        b"".join(bytes([n]) * 100_000 for n in range(3)),
    )
    assert (received.status, received.answer, received.over) == (200, PIECE * 4, True)
    assert size == len(received.answer)
    assert ("content-type", "application/octet-stream") in received.answer_headers


async def test_denials_are_recorded_too(clients: Clients) -> None:
    seen = await clients.runtime.invoke(clients.instance, "refused")
    found = await clients.exchanges("refused")
    assert [(one.method, one.error, one.status) for one in found] == [
        ("GET", "NetworkDenied", 0),
        ("CONNECT", "NetworkDenied", 0),
        ("GET", "NetworkDenied", 0),
        ("GET", "", 404),
    ]
    assert seen[0][0] == 403


async def test_credentials_and_known_secrets_are_hidden(clients: Clients) -> None:
    await clients.runtime.invoke(clients.instance, "identify")
    execution = await last_execution(clients.runtime, clients.instance, "identify")
    record = await last_record(clients.runtime, execution)
    (raw,) = record.exchanges
    headers = dict(decode(raw).headers)
    assert (headers["authorization"], headers["cookie"], headers["x-own"]) == ("***", "***", "*" * len(TOKEN))
    assert TOKEN.encode() not in bytes(raw)
    url = f"{clients.secure.url}/echo?key=***"
    for hidden in (f"the header authorization of POST {url}", f"the header cookie of POST {url}", "values of secret options"):
        assert hidden in record.hidden


@pytest.mark.parametrize(
    ("old", "new", "recorded", "replayed"),
    [
        ("/echo?a=1", "/echo?a=2", "/echo?a=1", "/echo?a=2"),
        ('{"n": 1}', '{"n": 2}', '{"n":1}', '{"n":2}'),
        ('method="PUT"', 'method="PATCH"', "PUT", "PATCH"),
        ("return [first, second", 'ask(self.options.plain + "/more")\n        return [first, second', "succeeded", "/more"),
        ('ask(self.options.plain + "/echo?a=1")', '(200, "nothing")', "store.write", "nothing"),
    ],
    ids=["url", "body", "method", "one more", "one fewer, and a call"],
)
async def test_edited_code_differs_at_its_request(
    clients: Clients, tmp_path: Path, old: str, new: str, recorded: str, replayed: str
) -> None:
    await clients.runtime.invoke(clients.instance, "work")
    head, work = TWIST.split("async def work", 1)
    assert old in work
    played = await clients.replay("work", written(tmp_path / "code", head + "async def work" + work.replace(old, new, 1)))
    assert played.shown.difference is not None
    assert played.shown.difference.what == "call"
    assert recorded in str(played.shown.difference.recorded)
    assert replayed in str(played.shown.difference.replayed)


async def test_a_request_that_is_not_made_any_more_is_missed(clients: Clients, tmp_path: Path) -> None:
    await clients.runtime.invoke(clients.instance, "upload")
    edited = TWIST.replace('ask(self.options.plain + "/echo", data=body, ', "dict(data=body, ")
    assert edited != TWIST
    played = await clients.replay("upload", written(tmp_path / "code", edited))
    assert played.shown.difference is not None
    assert "POST" in str(played.shown.difference.recorded)


async def test_what_breaks_off_does_not_fit_and_is_said_to_be_missing(clients: Clients) -> None:
    assert await clients.runtime.invoke(clients.instance, "break_off") == "broken off"
    assert await clients.exchanges("break_off") == []
    played = await clients.replay("break_off")
    assert played.shown.difference is not None
    assert played.shown.difference.what == "record"
    assert "limit_record" in str(played.shown.difference.recorded)


async def test_a_cut_record_keeps_what_was_before(opened: Opens, origins: tuple[Origin, Origin]) -> None:
    private = tuple(f"{origin.url}/*" for origin in origins)
    async with opened(allow_private=private, limit_record=4_000) as runtime:
        clients = await activated(runtime, origins)
        await runtime.invoke(clients.instance, "work")
        kept = len(await clients.exchanges("work"))
        await runtime.invoke(clients.instance, "stream")
        played = await clients.replay("stream")
        record = await last_record(runtime, await last_execution(runtime, clients.instance, "stream"))
    assert kept > 0
    assert (record.missing > 0, record.exchanges) == (True, [])
    assert played.shown.difference is not None
    assert (played.shown.difference.what, played.shown.difference.replayed is None) == ("record", False)
