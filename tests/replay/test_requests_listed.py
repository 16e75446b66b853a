"""`ropewalk execution` lists what HTTP requests were sent, from the attempts' records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.egress.origin import Origin, serving
from tests.harness.commands import Cli
from tests.harness.door import needs_door
from tests.harness.runtime import Runtime
from tests.replay.reading import last_execution

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opens = Callable[..., AbstractAsyncContextManager[Runtime]]

TWIST = """
import urllib.request
from ropewalk import Options, RetryPolicy, Secret, Twist, secret
from ropewalk.errors import NetworkDenied, NetworkError
from ropewalk.tools import Network

class Where(Options):
    base: str
    key: Secret = secret()

class Asks(Twist):
    options: Where
    network = Network(urls=["{base}/*", "http://127.0.0.1:1/*"])
    retry = RetryPolicy(attempts=2, first=0.01)

    async def work(self):
        await self.network.fetch(self.options.base + "/away", method="POST", json=1)
        for url in ("https://undeclared.example/x", self.options.base + "/slow"):
            try:
                await self.network.fetch(url, timeout=0.1)
            except (NetworkDenied, NetworkError):
                pass
        await self.network.fetch(self.options.base + f"/{self.options.key.reveal()}?page=2&access_token=t0p&key=t0p")

    async def by_door(self):
        with urllib.request.urlopen(self.options.base + "/plain") as answer:
            return len(answer.read())

    async def many(self, count):
        for number in range(count):
            await self.network.fetch(self.options.base + f"/{number}")

    async def start(self):
        await self.run_task(self.twice)

    async def twice(self):
        await self.network.fetch(self.options.base + f"/{self.execution.attempt}")
        if self.execution.attempt == 1:
            raise ValueError("once more")

    async def nothing(self): ...
"""


class Asking:
    """An instance of the twist, its server, and the command line beside it."""

    def __init__(self, runtime: Runtime, instance: str, origin: Origin, folder: Path) -> None:
        self.runtime = runtime
        self.instance = instance
        self.origin = origin
        self._cli = Cli(folder, runtime.database)

    async def shown(self, method: str) -> Any:
        """Return what is shown of the last execution of a method."""
        execution = await last_execution(self.runtime, self.instance, method)
        return await asyncio.to_thread(self._cli.json, "execution", execution.id)

    async def told(self, method: str) -> str:
        """Return what people are shown of it."""
        execution = await last_execution(self.runtime, self.instance, method)
        return (await asyncio.to_thread(self._cli.run, "execution", execution.id)).out


@pytest_asyncio.fixture(loop_scope="session")
async def asking(opened: Opens, tmp_path: Path) -> AsyncIterator[Asking]:
    """The twist, active."""
    async with serving() as origin, opened(allow_private=(f"{origin.url}/*", "http://127.0.0.1:1/*")) as runtime:
        yield Asking(runtime, await runtime.run(TWIST, base=origin.url, key="a-known-secret"), origin, tmp_path)


async def test_requests_are_listed_hop_by_hop(asking: Asking) -> None:
    origin = asking.origin
    origin.redirect("/away", "/here", 303)
    origin.on("/slow", lambda connection: connection.wait_until_gone())
    await asking.runtime.invoke(asking.instance, "work")
    rows = (await asking.shown("work"))["http_requests"]
    assert [(row["method"], row["url"].removeprefix(origin.url), row["redirects"], row["status"]) for row in rows] == [
        ("POST", "/away", 0, 303),
        ("GET", "/here", 1, 200),
        ("GET", "https://undeclared.example/x", 0, None),
        ("GET", "/slow", 0, None),
        ("GET", "/***?page=2&access_token=***&key=***", 0, 200),
    ]
    assert [row["error"] and row["error"]["type"] for row in rows] == [None, None, "NetworkDenied", "Cancelled", None]
    assert rows[1]["body_bytes"] > 0
    assert rows[3]["duration_ms"] >= 100
    assert {row["attempt"] for row in rows} == {1}
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    told = await asking.told("work")
    assert "↳ GET" in told
    assert f"{origin.url}/here" in told


@needs_door
async def test_ordinary_clients_are_listed_too(asking: Asking) -> None:
    size = await asking.runtime.invoke(asking.instance, "by_door")
    (row,) = (await asking.shown("by_door"))["http_requests"]
    assert (row["url"], row["status"], row["body_bytes"]) == (f"{asking.origin.url}/plain", 200, size)


async def test_each_attempt_has_its_own(asking: Asking) -> None:
    await asking.runtime.invoke(asking.instance, "start")
    await asking.runtime.drain()
    rows = (await asking.shown("twice"))["http_requests"]
    assert [(row["attempt"], row["url"].removeprefix(asking.origin.url)) for row in rows] == [(1, "/1"), (2, "/2")]


async def test_an_execution_without_requests_has_none(asking: Asking) -> None:
    await asking.runtime.invoke(asking.instance, "nothing")
    shown = await asking.shown("nothing")
    assert (shown["http_requests"], shown["http_requests_unlisted"]) == ([], 0)
    assert "HTTP requests" not in await asking.told("nothing")


async def test_beyond_a_number_they_are_counted(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropewalk.answers.interface.MOST_NOTED", 3)
    await asking.runtime.invoke(asking.instance, "many", 5)
    shown = await asking.shown("many")
    assert (len(shown["http_requests"]), shown["http_requests_unlisted"]) == (3, 2)
    assert "and 2 more, which are not listed" in await asking.told("many")


async def test_without_a_record_it_is_not_known(opened: Opens, tmp_path: Path) -> None:
    async with serving() as origin, opened(allow_private=(f"{origin.url}/*",), record="none") as runtime:
        asking = Asking(runtime, await runtime.run(TWIST, base=origin.url, key="a-known-secret"), origin, tmp_path)
        await runtime.invoke(asking.instance, "many", 1)
        assert (await asking.shown("many"))["http_requests"] is None
