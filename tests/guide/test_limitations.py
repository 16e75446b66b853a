"""The guide's "Limitations": each wrong way fails as it says, each right way works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.runtime import Runtime
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWISTS = Path(__file__).parent / "twists"


# ── 1. No persistent instance state ───────────────────────────────────────────────────────────────────────────────────────────


async def test_an_attribute_is_lost_after_the_execution(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "attribute_state.py")
    assert await runtime.invoke(instance, "some_method") == ""


async def test_a_stored_value_is_there_in_another_execution(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "stored_state.py")
    assert await runtime.invoke(instance, "some_method") == "abc123"
    assert await runtime.logs(instance) == ["abc123"]


# ── 2. Limited execution time ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_syncing_everything_at_once_is_ended_and_leaves_nothing_half_done(runtime: Runtime, web: Web) -> None:
    web.holds(500)
    instance = await runtime.run(TWISTS / "sync_everything.py", base_url=web.url)
    why = await runtime.failure(instance, "sync_all_events")
    assert why.type == "timeout"
    assert "1 s" in why.message
    assert await runtime.activities() == []


async def test_syncing_in_batches_gets_through(runtime: Runtime, web: Web) -> None:
    web.holds(500)
    instance = await runtime.run(TWISTS / "sync_in_batches.py", base_url=web.url)
    await runtime.invoke(instance, "start_sync")
    await runtime.drain()
    assert await runtime.titles() == sorted(item["title"] for item in web.items)
    assert [asked.query["page"] for asked in web.asked("/items")] == [str(page) for page in range(1, 11)]


# ── 3. No file system access ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["data.json", "/tmp/data.json", "/dev/shm/data.json", "/data.json", "/twist/data.json"])
@pytest.mark.parametrize("method", ["write", "make_folder"])
async def test_nothing_can_be_written(runtime: Runtime, method: str, path: str) -> None:
    instance = await runtime.run(TWISTS / "writes_files.py")
    why = await runtime.failure(instance, method, path)
    assert why.type in {"PermissionError", "OSError", "FileNotFoundError"}
    assert path in why.message


@pytest.mark.parametrize("method", ["append", "remove"])
async def test_the_twists_own_module_cannot_be_changed(runtime: Runtime, method: str) -> None:
    instance = await runtime.run(TWISTS / "writes_files.py")
    path = await runtime.invoke(instance, "own_path")
    assert (await runtime.failure(instance, method, path)).type in {"PermissionError", "OSError"}
    assert await runtime.invoke(instance, "read", path) == (TWISTS / "writes_files.py").read_text()


async def test_there_is_no_place_for_temporary_files(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "writes_files.py")
    assert (await runtime.failure(instance, "temporary")).type in {"PermissionError", "OSError", "FileNotFoundError"}


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/root/.bashrc", "/proc/1/environ", "/proc/self/environ"])
async def test_the_hosts_files_are_not_there(runtime: Runtime, path: str) -> None:
    instance = await runtime.run(TWISTS / "writes_files.py")
    assert (await runtime.failure(instance, "read", path)).type in {"PermissionError", "FileNotFoundError", "NotADirectoryError"}


async def test_the_database_is_not_there(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "writes_files.py")
    why = await runtime.failure(instance, "read", str(runtime.database))
    assert why.type in {"PermissionError", "FileNotFoundError"}


async def test_the_hosts_environment_is_not_there(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_SECRET", "1")
    instance = await runtime.run(TWISTS / "writes_files.py")
    environment = await runtime.invoke(instance, "environment")
    assert set(environment) & set(os.environ) <= {"HOME", "LANG", "PATH"}
    assert environment.get("HOME") != os.environ.get("HOME")


async def test_data_is_kept_in_the_store(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "stores_data.py")
    await runtime.invoke(instance, "save", {"rows": [1, 2, 3]})
    assert await runtime.invoke(instance, "load") == {"rows": [1, 2, 3]}


# ── 4. Limited global state ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_globals_class_attributes_and_module_caches_do_not_persist(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "global_cache.py")
    for _ in range(3):
        await runtime.invoke(instance, "fill")
        assert await runtime.invoke(instance, "look") == [0, 0, 0, 0]


async def test_two_executions_do_not_draw_the_same_random_numbers(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "global_cache.py")
    drawn = [await runtime.invoke(instance, "roll") for _ in range(5)]
    assert len(set(drawn)) == len(drawn)


async def test_a_cache_under_prefixed_keys_persists(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "prefixed_cache.py")
    await runtime.invoke(instance, "fill")
    assert await runtime.invoke(instance, "look") == {"cache:key1": "value1", "cache:key2": "value2"}
