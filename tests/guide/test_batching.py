"""The guide's "Batching Long Operations": by page, by token, by item."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.checks import rows
from tests.harness.runtime import Runtime
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWISTS = Path(__file__).parent / "twists"


def titles(web: Web) -> list[str]:
    """What the server holds, as the activities' titles should be."""
    return sorted(item["title"] for item in web.items)


# ── Pattern 1: page-based ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_paged_sync_takes_each_page_once_in_an_execution_of_its_own(runtime: Runtime, web: Web) -> None:
    web.holds(230)
    instance = await runtime.run(TWISTS / "page_sync.py", base_url=web.url)
    await runtime.invoke(instance, "start_sync")
    await runtime.drain()
    assert await runtime.titles() == titles(web)
    assert [asked.query["page"] for asked in web.asked("/items")] == ["1", "2", "3", "4", "5"]
    assert [one.status for one in await runtime.executions(instance, "sync_page")] == ["succeeded"] * 5
    assert await runtime.logs(instance) == ["Sync complete: 230 items"]
    assert await runtime.keys(instance) == []


async def test_a_paged_syncs_activities_have_their_notes(runtime: Runtime, web: Web) -> None:
    web.holds(3)
    instance = await runtime.run(TWISTS / "page_sync.py", base_url=web.url)
    await runtime.invoke(instance, "start_sync")
    await runtime.drain()
    for owned in await runtime.activities():
        (note,) = await runtime.notes(owned.activity.id)
        assert note.content == owned.activity.title.replace("Item", "Body")


async def test_an_error_that_is_caught_is_logged_and_the_sync_stays_where_it_was(runtime: Runtime, web: Web) -> None:
    web.holds(120)
    web.failures["page 2"] = 1
    instance = await runtime.run(TWISTS / "page_sync.py", base_url=web.url)
    await runtime.invoke(instance, "start_sync")
    await runtime.drain()
    (line,) = await runtime.logs(instance)
    assert line.startswith("Sync error: ")
    assert "500" in line
    assert (await runtime.get(instance, "sync_state"))["page"] == 2
    await runtime.invoke(instance, "sync_page")
    await runtime.drain()
    assert await runtime.titles() == titles(web)


async def test_an_error_that_is_let_out_undoes_the_page_and_runs_it_again(runtime: Runtime, web: Web) -> None:
    web.holds(120)
    web.failures["page 2"] = 3
    instance = await runtime.run(TWISTS / "retried_page_sync.py", base_url=web.url)
    await runtime.invoke(instance, "sync_page", 1)
    await runtime.drain()
    assert await runtime.titles() == sorted([*titles(web), "Page 1", "Page 2", "Page 3"])
    ran = [one for one in await runtime.executions(instance, "sync_page") if one.status == "succeeded"]
    assert [one.attempt for one in ran] == [1, 4, 1]


async def test_an_error_that_stays_ends_in_dead_and_nothing_of_it_is_there(runtime: Runtime, web: Web) -> None:
    web.holds(120)
    web.failures["page 2"] = 1000
    instance = await runtime.run(TWISTS / "retried_page_sync.py", base_url=web.url)
    await runtime.invoke(instance, "sync_page", 1)
    await runtime.drain()
    last = (await runtime.executions(instance, "sync_page"))[-1]
    assert (last.status, last.attempt) == ("dead", 5)
    assert last.error is not None
    assert last.error.type == "HTTPStatusError"
    assert "Page 2" not in await runtime.titles()
    web.failures["page 2"] = 0
    await runtime.storage.retry(last.id, runtime.clock.now())
    await runtime.drain()
    assert await runtime.titles() == sorted([*titles(web), "Page 1", "Page 2", "Page 3"])


# ── Pattern 2: token-based ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_sync_follows_each_token_once(runtime: Runtime, web: Web) -> None:
    web.holds(170)
    instance = await runtime.run(TWISTS / "token_sync.py", base_url=web.url)
    await runtime.invoke(instance, "start_sync")
    await runtime.drain()
    assert await runtime.titles() == titles(web)
    assert [asked.query for asked in web.asked("/batch")] == [{}, {"token": "t50"}, {"token": "t100"}, {"token": "t150"}]
    assert await runtime.logs(instance) == ["Complete: 170 items"]
    assert await runtime.keys(instance) == []


# ── Pattern 3: item-based ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("count", "executions"), [(0, 1), (1, 1), (10, 1), (11, 2), (95, 10)])
async def test_an_array_is_processed_ten_items_at_a_time_each_once(runtime: Runtime, count: int, executions: int) -> None:
    instance = await runtime.run(TWISTS / "item_sync.py")
    await runtime.invoke(instance, "process_large_array", [{"id": number} for number in range(count)])
    await runtime.drain()
    assert await runtime.keys(instance) == [f"processed:{number:03}" for number in range(count)]
    assert set(rows(runtime.database, "select cast(value as text) from store")) <= {"1"}
    assert len(await runtime.executions(instance, "process_batch")) == executions
