"""The guide's "Memory Considerations": pages instead of everything, fields instead of records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.runtime import Runtime
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWISTS = Path(__file__).parent / "twists"
MIB = 1024 * 1024


@pytest.mark.parametrize("method", ["sync_all", "sync_caught"])
async def test_loading_everything_into_memory_is_ended(runtime: Runtime, web: Web, method: str) -> None:
    instance = await runtime.run(TWISTS / "loads_everything.py", base_url=web.url)
    why = await runtime.failure(instance, method, 20)
    assert why.type == "memory_limit"
    assert "33,554,432 bytes" in why.message
    assert await runtime.keys(instance) == []


async def test_a_page_at_a_time_fits(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(TWISTS / "loads_everything.py", base_url=web.url)
    assert await runtime.invoke(instance, "sync_batch", 20) == 80 * MIB


async def test_what_an_execution_used_is_reported(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(TWISTS / "loads_everything.py", base_url=web.url)
    await runtime.invoke(instance, "sync_all", 3)
    execution = (await runtime.executions(instance, "sync_all"))[-1]
    assert 12 * MIB <= execution.memory_peak <= 32 * MIB


async def test_storing_only_what_is_needed_takes_little_room(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(TWISTS / "efficient_storage.py", base_url=web.url)
    await runtime.invoke(instance, "keep_what_is_needed")
    assert (await runtime.instance(instance)).store_bytes < 100
    assert await runtime.get(instance, "user_name") == "User 123"
    await runtime.invoke(instance, "keep_everything")
    assert (await runtime.instance(instance)).store_bytes > 200_000
