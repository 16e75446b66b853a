"""Servers, networks and names that fail in every way they can: the author gets an error that says what, and the next request works.

Real servers on loopback, real TLS; only names that no DNS has are made up, below the system's own resolver.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from tests.egress.origin import CERTIFICATES, Connection, Origin, Script, serving
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

VISITS = """
from ropewalk import Options, RopewalkError, Twist
from ropewalk.tools import Network

class VisitsOptions(Options):
    plain: str
    secure: str
    gone: str
    port: str
    secure_port: str

class Visits(Twist):
    options: VisitsOptions
    network = Network(urls=["{plain}/*", "{secure}/*", "{gone}/*", "http://named.test:{port}/*", "http://turned.test:{port}/*",
                            "https://api.secure.test:{secure_port}/*", "https://other.test:{secure_port}/*", "*"])

    async def visit(self, url: str, timeout: float = 20, upload: int = 0) -> list[str]:
        try:
            answer = await self.network.fetch(url, method="POST" if upload else "GET", content=b"x" * upload, timeout=timeout)
        except RopewalkError as error:
            return [type(error).__name__, str(error)]
        return [str(answer.status), str(len(answer.content))]

    async def insist(self, url: str) -> str:
        (await self.network.fetch(url)).raise_for_status()
        return "well"
"""


@dataclass
class Names:
    """What names of `.test` resolve to: each time the next of a list of answers, the last one for ever."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        given = self.answers.get(host)
        if given is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answer = given.pop(0) if len(given) > 1 else given[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]


@dataclass
class Bed:
    """A twist that visits what goes wrong."""

    runtime: Runtime
    instance: str
    origin: Origin
    secure: Origin
    gone: str
    names: Names

    async def visit(self, url: str, **arguments: object) -> tuple[str, str]:
        kind, told = await self.runtime.invoke(self.instance, "visit", url, **arguments)
        return kind, told

    async def assert_well(self) -> None:
        """Fail unless the next execution's request works, and nothing is left of those before."""
        assert await self.visit(f"{self.origin.url}/well") == ("200", "2")

        async def one_is_kept() -> bool:
            left = [task for task in asyncio.all_tasks() if "answer_outside" in str(task.get_coro())]
            return not left and self.origin.open + self.secure.open <= 1

        await eventually(one_is_kept, "connections and tasks to be gone")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Stands in for the system's resolver where names end in `.test`."""
    names, system = Names(), socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        return (names if str(host).endswith(".test") else system)(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    return names


@pytest_asyncio.fixture(loop_scope="session")
async def bed(opened: Callable[..., AbstractAsyncContextManager[Runtime]], names: Names) -> AsyncIterator[Bed]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{probe.getsockname()[1]}"
    async with serving() as origin, serving(tls=True) as secure:
        named = [f"http://named.test:{origin.port}/*"] + [
            f"https://{name}.test:{secure.port}/*" for name in ("api.secure", "other")
        ]
        private = (f"{origin.url}/*", f"{secure.url}/*", f"{gone}/*", *named)
        origin.on("/well", lambda connection: connection.answer(body=b"ok"))
        async with opened(allow_private=private) as runtime:
            options = {
                "plain": origin.url,
                "secure": secure.url,
                "gone": gone,
                "port": str(origin.port),
                "secure_port": str(secure.port),
            }
            instance = await runtime.run(VISITS, **options)
            yield Bed(runtime, instance, origin, secure, gone, names)


# ── Servers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def silent(connection: Connection) -> None:
    await connection.wait_until_gone()


async def one_byte_at_a_time(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await connection.write(b"x")
        await asyncio.sleep(0.02)  # what makes it slow


async def endless(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")


async def bomb(connection: Connection) -> None:
    await connection.answer(body=BOMB, content_encoding="gzip")


async def loop(connection: Connection) -> None:
    await connection.answer(302, location="/faulty")


async def reset_at_once(connection: Connection) -> None:
    connection.reset()


async def reset_half_way(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
    connection.reset()


async def short_body(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\nhalf")
    connection.close()


BOMB = gzip.compress(b"\0" * (40 << 20))


@pytest.mark.parametrize(
    ("script", "kind", "told"),
    [
        (silent, "FetchTimeout", r"took longer than its timeout of 0\.5 s"),
        (one_byte_at_a_time, "FetchTimeout", r"took longer than its timeout of 0\.5 s"),
        (endless, "ValueTooLarge", r"more than 33,554,432 bytes, which is the limit: ask for a page or a range"),
        (bomb, "ValueTooLarge", r"more than 33,554,432 bytes, which is the limit: ask for a page or a range"),
        (loop, "NetworkError", r"more than 5 redirects, which is the limit"),
        (reset_at_once, "NetworkError", r"GET .* failed: "),
        (reset_half_way, "NetworkError", r"GET .* failed: "),
        (short_body, "NetworkError", r"GET .* failed: .*received 4 bytes, expected 1000"),
    ],
)  # fmt: skip
async def test_faulty_server(bed: Bed, script: Script, kind: str, told: str) -> None:
    timeout = 0.5 if kind == "FetchTimeout" else 60
    found, text = await bed.visit(bed.origin.on("/faulty", script), timeout=timeout)
    assert found == kind
    assert re.search(told, text)
    assert f"{bed.origin.url}/faulty" in text
    await bed.assert_well()


async def test_connection_reset_while_uploading(bed: Bed) -> None:
    async def take_a_little(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.transport.abort()

    server = await asyncio.start_server(take_a_little, "127.0.0.1", int(bed.gone.rpartition(":")[2]))
    kind, told = await bed.visit(f"{bed.gone}/", upload=8 << 20)
    server.close()
    assert kind == "NetworkError"
    assert re.search(rf"POST {bed.gone}/ failed: (Connection reset by peer|Broken pipe)", told)
    await bed.assert_well()


async def test_target_is_down(bed: Bed) -> None:
    kind, told = await bed.visit(f"{bed.gone}/")
    assert kind == "NetworkError"
    assert f"GET {bed.gone}/ failed: " in told
    assert "Connection refused" in told
    await bed.assert_well()


async def test_target_is_down_and_nobody_catches_it(bed: Bed) -> None:
    failure = await bed.runtime.failure(bed.instance, "insist", f"{bed.gone}/")
    assert failure.type == "NetworkError"
    assert await bed.runtime.invoke(bed.instance, "insist", f"{bed.origin.url}/well") == "well"


async def test_status_that_is_an_error(bed: Bed) -> None:
    url = bed.origin.on("/busy", lambda connection: connection.answer(503, b"later"))
    failure = await bed.runtime.failure(bed.instance, "insist", url)
    assert failure.type == "HTTPStatusError"
    assert "503" in failure.message
    assert url in failure.message
    await bed.assert_well()


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_certificate_for_another_name(bed: Bed) -> None:
    bed.names.answers = {"api.secure.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]}
    assert (await bed.visit(f"https://api.secure.test:{bed.secure.port}/"))[0] == "200"
    kind, told = await bed.visit(f"https://other.test:{bed.secure.port}/")
    assert kind == "NetworkError"
    assert re.search(r"https://other\.test:\d+/ failed: .*certificate.*other\.test", told)
    assert len(bed.secure.requests) == 1
    await bed.assert_well()


async def test_certificate_of_an_unknown_authority(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node that is started now has the machine's own authorities only."""
    await bed.runtime.stop()
    monkeypatch.delenv("SSL_CERT_FILE")
    kind, told = await bed.visit(f"{bed.secure.url}/")
    assert kind == "NetworkError"
    assert "certificate verify failed" in told
    assert not bed.secure.requests


# ── Names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_name_that_is_none(bed: Bed) -> None:
    kind, told = await bed.visit(f"http://named.test:{bed.origin.port}/well")
    assert kind == "NetworkError"
    assert "the name named.test cannot be resolved: Name or service not known" in told
    await bed.assert_well()


async def test_name_that_changes_between_check_and_use(bed: Bed) -> None:
    """It is asked once: what was judged is what is connected to, whatever it would say the second time."""
    bed.names.answers = {"named.test": [["127.0.0.1"], ["127.0.0.2"]]}
    assert await bed.visit(f"http://named.test:{bed.origin.port}/well") == ("200", "2")
    assert bed.names.asked == ["named.test"]
    assert bed.origin.requests[-1].header("host") == f"named.test:{bed.origin.port}"


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"]])
async def test_name_that_turns_private(bed: Bed, answers: list[str]) -> None:
    """It was declared, and the operator has not allowed it: one private answer is enough."""
    bed.names.answers = {"turned.test": [answers]}
    kind, told = await bed.visit(f"http://turned.test:{bed.origin.port}/well")
    assert kind == "NetworkDenied"
    assert "leads to an address that is not public: loopback (127.0.0.0/8). An operator can allow it" in told
    assert not bed.origin.requests
    await bed.assert_well()


async def test_redirect_to_a_clouds_metadata(bed: Bed) -> None:
    for target in ("http://169.254.169.254/latest/", "http://[fd00:ec2::254]/", "http://metadata.google.internal/"):
        kind, told = await bed.visit(bed.origin.redirect("/away", target))
        assert kind == "NetworkDenied"
        assert "not public" in told
    await bed.assert_well()
