"""Real servers and a fetcher that may reach them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ropewalk.egress.connections import Bounds
from ropewalk.egress.fetch import Asker, Fetcher
from ropewalk.egress.hops import Request
from ropewalk.egress.patterns import Pattern, parse_pattern
from ropewalk.wire.messages import HttpAnswer
from tests.egress.origin import Origin, serving, trusting


class Client:
    """A fetcher whose names resolve as `names` says, for a twist that declares `declared`."""

    def __init__(self, private: tuple[Pattern, ...], declared: tuple[Pattern, ...]) -> None:
        self.names: dict[str, list[str]] = {}
        self.resolved: list[str] = []
        self.declared = declared
        self.fetcher = Fetcher(private=private, resolve=self.resolve, tls=trusting(), bounds=Bounds(body=1_000_000, idle=60))

    async def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise OSError(f"no such name: {host}")
        return self.names[host]

    def declare(self, *patterns: str) -> None:
        self.declared = tuple(map(parse_pattern, patterns))

    def asker(self, tenant: str = "one", **fields: Any) -> Asker:
        return Asker(tenant=tenant, declared=self.declared, **fields)

    async def get(self, url: str, *, tenant: str = "one", **fields: object) -> HttpAnswer:
        return await self.send(method="GET", url=url, tenant=tenant, **fields)

    async def send(self, *, tenant: str = "one", **fields: object) -> HttpAnswer:
        request = Request(**{"timeout": 10.0, **fields})  # type: ignore[arg-type]  # as the test gives them
        return await self.fetcher.fetch(request, self.asker(tenant))


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with serving() as plain:
        yield plain


@pytest.fixture
async def secure() -> AsyncIterator[Origin]:
    async with serving(tls=True) as encrypted:
        yield encrypted


@pytest.fixture
async def client(origin: Origin, secure: Origin) -> AsyncIterator[Client]:
    texts = (f"{origin.url}/*", f"{secure.url}/*", f"https://*.secure.test:{secure.port}/*", f"http://named.test:{origin.port}/*")
    patterns = tuple(map(parse_pattern, texts))
    client = Client(patterns, patterns)
    await client.fetcher.start()
    yield client
    await client.fetcher.stop()
