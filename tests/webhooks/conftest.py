"""A node that answers HTTP, with an instance that keeps what its webhooks receive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from ropewalk.service.hooks import receiving
from ropewalk.sources.watching import Watch
from ropewalk.web.app import make_app
from ropewalk.web.server import listening
from ropewalk.web.webhooks import Webhooks
from tests.harness.runtime import Runtime, open_runtime
from tests.harness.web import Web, serving

TWIST = Path(__file__).parent / "twists" / "receiver.py"


class Station:
    """What the session's tests share: a runtime that listens, and a server for its twists to ask.

    Attributes:
        runtime: the database and its node.
        client: speaks HTTP.
        webhooks: what answers.
        web: what twists may reach.
    """

    def __init__(self, runtime: Runtime, client: httpx.AsyncClient, webhooks: Webhooks, web: Web) -> None:
        self.runtime = runtime
        self.client = client
        self.webhooks = webhooks
        self.web = web
        self.twist = ""


class Site(Station):
    """The station, with an instance of the test's own.

    Attributes:
        instance: one of the twist that keeps what it receives.
        url: its first webhook's.
    """

    instance: str
    url: str

    @classmethod
    async def at(cls, station: Station) -> Site:
        """Return one with a new instance."""
        site = cls(station.runtime, station.client, station.webhooks, station.web)
        site.twist = station.twist
        site.instance = await site.runtime.activate(station.twist, web=site.web.url)
        await site.runtime.drain()
        site.url = await site.get("url")
        return site

    async def get(self, key: str) -> Any:
        """Return what the instance has stored."""
        return await self.runtime.get(self.instance, key)

    async def create(self, method: str = "on_hook", *arguments: object, **keywords: object) -> str:
        """Have the instance make a webhook; returns its URL."""
        bound = list(arguments) or ["made"]
        return str(await self.runtime.invoke(self.instance, "create", method, bound, keywords))

    async def post(self, url: str, **request: Any) -> httpx.Response:
        """Send a request."""
        return await self.client.post(url, **request)

    async def deliver(self, url: str, **request: Any) -> Any:
        """Send a request that has to be accepted, and return what the method was called with."""
        response = await self.client.request(request.pop("method", "POST"), url, **request)
        assert response.status_code == 202, response.text
        assert response.json()["queued"] is True
        execution = await self.runtime.finish(response.json()["execution"])
        assert execution.status == "succeeded", execution.error
        return await self.get(f"seen {execution.id}")


@asynccontextmanager
async def open_station(runtime: Runtime, web: Web) -> AsyncIterator[Station]:
    """Have a runtime listen for as long as the block runs."""
    watch = Watch(runtime.clock)
    webhooks = receiving(runtime.service, lambda: None, watch)

    async def figures() -> dict[str, Any]:
        return {}

    async with listening(make_app(lambda: True, figures, webhooks), "127.0.0.1", 0) as url:
        await runtime.service.listening_at(url)
        # The server keeps a connection that rests for five seconds: nothing is sent on one that it may be closing.
        async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(keepalive_expiry=1)) as client:
            yield Station(runtime, client, webhooks, web)
        watch.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def station(tmp_path_factory: pytest.TempPathFactory, sandbox: ForkSource, shared_bundles: Path) -> AsyncIterator[Station]:
    """A runtime that listens, with the receiver deployed."""
    folder = tmp_path_factory.mktemp("station")
    with serving() as web:
        async with (
            open_runtime(folder, sandbox, shared_bundles, allow_private=(f"{web.url}/*",)) as runtime,
            open_station(runtime, web) as one,
        ):
            one.twist = (await runtime.deploy(TWIST)).get("twist", "")
            yield one


@pytest_asyncio.fixture(loop_scope="session")
async def site(station: Station) -> AsyncIterator[Site]:
    """An instance of the receiver, at a station that is as new but for its database."""
    station.web.requests.clear()
    station.web.meeting = None
    station.webhooks.taken.clear()
    station.webhooks.refused.clear()
    bounds = station.webhooks.bounds
    yield await Site.at(station)
    station.webhooks.bounds = bounds
