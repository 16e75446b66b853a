"""More than can be taken now: senders are told so, and when to come again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import httpx
import pytest

from ropewalk.storage.sqlite.storage import SqliteStorage
from tests.harness.runtime import Runtime
from tests.webhooks.conftest import TWIST, Site, open_station

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opens = Callable[..., AbstractAsyncContextManager[Runtime]]


def refused(answer: httpx.Response) -> tuple[int, str, bool]:
    """Return the status, the type of the error, and whether it says when to come again."""
    return answer.status_code, answer.json()["error"]["type"], int(answer.headers["retry-after"]) >= 1


async def test_a_full_queue_and_a_rate_are_429(opened: Opens, site: Site) -> None:
    limits: dict[str, Any] = {"limit_queue": 3, "webhook_burst": 5, "webhook_rate": 0.01}
    async with opened(**limits) as runtime, open_station(runtime, site.web) as station:
        instance = await runtime.run(TWIST)
        url = await runtime.get(instance, "url")
        await runtime.service.suspend(instance, "for the test")
        answers = [await station.client.post(url) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429, 429]
        assert {refused(answer) for answer in answers[3:]} == {(429, "TooManyRequests", True)}
        assert dict(station.webhooks.refused) == {"queue_full": 2, "rate": 1}
        await runtime.service.resume(instance)
        await runtime.drain()
        assert await runtime.get(instance, "count") == 3


async def test_a_full_disk_is_503_and_loses_nothing(opened: Opens, site: Site) -> None:
    async with opened() as runtime, open_station(runtime, site.web) as station:
        instance = await runtime.run(TWIST)
        url = await runtime.get(instance, "url")
        await runtime.stop()
        writer = cast("SqliteStorage", runtime.storage)._writer
        most = writer.pragma("max_page_count")
        writer.pragma("max_page_count", 1)  # as many as there are already
        body = b"x" * 200_000
        assert refused(await station.client.post(url, content=body, headers={"Idempotency-Key": "k"})) == (
            503,
            "Unavailable",
            True,
        )
        writer.pragma("max_page_count", most)
        answer = await station.client.post(url, content=body, headers={"Idempotency-Key": "k"})
        assert answer.json()["queued"] is True
        await runtime.drain()
        assert await runtime.get(instance, "count") == 1
