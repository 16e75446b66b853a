"""The guide's "State Management": save, retrieve, clear; prefixes; clean-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.checks import rows
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWISTS = Path(__file__).parent / "twists"


# ── Store tool ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["text", 0, 1.5, True, [], {"a": [{"b": None}]}, "ünïcödé 🪢", ""])
async def test_what_is_saved_is_retrieved(runtime: Runtime, value: object) -> None:
    instance = await runtime.run(TWISTS / "store_tool.py")
    await runtime.invoke(instance, "save", "key", value)
    assert await runtime.invoke(instance, "retrieve", "key") == value


async def test_a_cleared_key_is_gone_and_the_others_stay(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "store_tool.py")
    await runtime.invoke(instance, "save", "key", 1)
    await runtime.invoke(instance, "save", "other", 2)
    await runtime.invoke(instance, "clear_one", "key")
    assert await runtime.invoke(instance, "retrieve", "key") is None
    assert await runtime.keys(instance) == ["other"]


async def test_clear_all_clears_this_instance_and_no_other(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "store_tool.py")
    neighbour = await runtime.activate("store-tool")
    for one in (instance, neighbour):
        await runtime.invoke(one, "save", "key", 1)
    await runtime.invoke(instance, "clear_everything")
    assert await runtime.keys(instance) == []
    assert await runtime.keys(neighbour) == ["key"]


# ── State organisation ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_prefixes_keep_data_apart(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "store_tool.py")
    await runtime.invoke(instance, "organise")
    assert await runtime.invoke(instance, "under", "config:") == ["config:api_key", "config:workspace_id"]
    assert await runtime.invoke(instance, "under", "cache:") == ["cache:repo:456", "cache:user:123"]
    assert await runtime.invoke(instance, "user") == "Ada"


# ── State clean-up ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("way", "left"),
    [("all", ""), ("keys", "cache:user:456, other"), ("prefix", "other, sync:page_token")],
)
async def test_deactivate_sees_and_clears_the_state(runtime: Runtime, way: str, left: str) -> None:
    instance = await runtime.run(TWISTS / "cleans_up.py", way=way)
    execution = await runtime.deactivate(instance)
    assert execution.status == "succeeded"
    assert rows(runtime.database, "select message from logs where instance = ?", instance) == [f"left: {left}"]


async def test_what_deactivate_left_is_erased(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "cleans_up.py", way="keys")
    await runtime.deactivate(instance)
    while await runtime.storage.erase(500):
        pass
    assert rows(runtime.database, "select key from store where instance = ?", instance) == []
