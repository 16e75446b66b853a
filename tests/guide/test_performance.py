"""The guide's "Performance Optimization": fewer calls, parallel calls, caches, duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.runtime import Runtime
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWISTS = Path(__file__).parent / "twists"


# ── 1. Minimise API calls ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("method", "requests"), [("slow", 25), ("fast", 1)])
async def test_a_batch_is_one_request_however_long(runtime: Runtime, method: str, requests: int) -> None:
    instance = await runtime.run(TWISTS / "minimizes_calls.py")
    titles = [f"Title {number:02}" for number in range(25)]
    await runtime.invoke(instance, method, titles)
    execution = (await runtime.executions(instance, method))[-1]
    assert execution.requests == requests
    assert await runtime.titles() == titles


async def test_a_batch_keeps_the_ids_that_were_given_and_makes_the_notes(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "minimizes_calls.py")
    ids = await runtime.invoke(instance, "fast", ["a", "b"])
    assert {one.activity.id: one.activity.title for one in await runtime.activities()} == dict(zip(ids, "ab", strict=True))
    for id_, title in zip(ids, "ab", strict=True):
        assert [note.content for note in await runtime.notes(id_)] == [f"About {title}"]


# ── 2. Parallel operations ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["parallel", "grouped"])
async def test_independent_requests_are_made_at_the_same_time(runtime: Runtime, web: Web, method: str) -> None:
    web.hold(together=3)
    instance = await runtime.run(TWISTS / "parallel_fetch.py", base_url=web.url)
    assert await runtime.invoke(instance, method) == ["user", "repos", "issues"]


async def test_requests_that_are_awaited_one_by_one_are_not(runtime: Runtime, web: Web) -> None:
    web.hold(together=3)
    instance = await runtime.run(TWISTS / "parallel_fetch.py", base_url=web.url)
    assert (await runtime.failure(instance, "sequential")).type == "FetchTimeout"


# ── 3. Caching ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_cached_is_fetched_once(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(TWISTS / "caches_users.py", base_url=web.url)
    found = [await runtime.invoke(instance, "get_user_data", "ada") for _ in range(3)]
    assert found == [{"name": "User ada", "email": "ada@example.com"}] * 3
    assert len(web.asked("/users/ada")) == 1


# ── 4. Debouncing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_that_comes_twice_is_processed_once(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "debounces.py")
    await runtime.invoke(instance, "on_event", {"id": "1", "title": "first"})
    await runtime.invoke(instance, "on_event", {"id": "1", "title": "first"})
    assert await runtime.titles() == ["first"]
    assert await runtime.logs(instance) == ["Event already processed"]


async def test_duplicates_in_a_burst_never_race_each_other(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "debounces.py")
    await runtime.invoke(instance, "burst", [{"id": str(number % 7), "title": f"event {number % 7}"} for number in range(35)])
    await runtime.drain()
    assert await runtime.titles() == [f"event {number}" for number in range(7)]
    assert (await runtime.logs(instance)).count("Event already processed") == 28
