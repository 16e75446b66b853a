"""A runtime whose twists' clients reach two servers, one of them by TLS, and a twist that does what a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from ropewalk.storage.records import ErrorInfo, Execution
from tests.door.origin import Origin, serving
from tests.egress.origin import CERTIFICATES
from tests.harness.door import needs_door
from tests.harness.runtime import Runtime

PROBE = """
    import asyncio, http.client, os, socket, ssl, textwrap, threading, urllib.error, urllib.request
    from ropewalk import Limits, Options, Twist
    from ropewalk.tools import Network

    def get(url):
        with urllib.request.urlopen(url) as answer:
            return answer.read()

    def refusal(url, **options):
        try:
            urllib.request.urlopen(urllib.request.Request(url, **options)).close()
        except urllib.error.HTTPError as error:
            return [error.code, error.headers["x-ropewalk-error"], error.reason]

    def door():
        return http.client.HTTPConnection("127.0.0.1", 3128)

    def tunnel(server):
        "Return a TLS connection through the door."
        host, _, port = server.removeprefix("https://").partition(":")
        connection = http.client.HTTPSConnection("127.0.0.1", 3128)
        connection.set_tunnel(host, int(port))
        return connection

    class Where(Options):
        plain: str
        secure: str
        other: str = "https://api.example.com"

    class Probe(Twist):
        options: Where
        limits = Limits(requests=50)
        network = Network(urls=["{plain}/*", "{secure}/*", "{other}/below/*"])

        async def do(self, code, given):
            space = globals() | {"given": given, "self": self}
            body = "async def does():" + textwrap.indent(textwrap.dedent(code), "    ")
            exec(body, space)
            return await space["does"]()
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say loudly where there is no door to test."""
    for item in items:
        if "tests/door" in item.nodeid:
            item.add_marker(needs_door)


@dataclass
class Probe:
    """An instance of the twist."""

    runtime: Runtime
    instance: str

    async def do(self, code: str, given: Any = None) -> Any:
        """Have the body of a coroutine function run in an execution, and return what it returns. Raises Failed."""
        return await self.runtime.invoke(self.instance, "do", f"\n{code}", given)

    async def fail(self, code: str, given: Any = None) -> ErrorInfo:
        """Have it run, and return why the execution failed."""
        return await self.runtime.failure(self.instance, "do", f"\n{code}", given)

    async def last(self) -> Execution:
        """Return the execution that ran last."""
        return (await self.runtime.executions(self.instance))[-1]

    async def logs(self) -> str:
        """Return its log."""
        return "\n".join(await self.runtime.logs(self.instance))


@pytest_asyncio.fixture(loop_scope="session")
async def plain() -> AsyncIterator[Origin]:
    """A server without TLS."""
    async with serving(tls=False) as origin:
        yield origin


@pytest_asyncio.fixture(loop_scope="session")
async def secure() -> AsyncIterator[Origin]:
    """A server with TLS, by an authority that the host trusts and no guest knows of."""
    async with serving(tls=True) as origin:
        yield origin


@pytest_asyncio.fixture(loop_scope="session")
async def walk(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], plain: Origin, secure: Origin, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Runtime]:
    """A runtime whose requests may reach both."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    async with opened(allow_private=(f"{plain.url}/*", f"{secure.url}/*")) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def probe(walk: Runtime, plain: Origin, secure: Origin) -> Probe:
    """An instance of the twist that may reach both."""
    return Probe(walk, await walk.run(PROBE, plain=plain.url, secure=secure.url))
