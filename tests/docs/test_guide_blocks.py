"""Every named Python block of the authors' guide and of the README, run as it stands there.

Only the address of the API is put in: `https://api.example.com` becomes the test's own server.
"""

from __future__ import annotations

import builtins
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from ropewalk.wire.control import RetryInfo
from tests.docs.blocks import ROOT, blocks, module
from tests.harness.runtime import Runtime, open_runtime
from tests.harness.web import Asked, Web
from tests.webhooks.conftest import open_station

pytestmark = pytest.mark.asyncio(loop_scope="session")

API = "https://api.example.com"


class Guide:
    """The guide's blocks, to a test."""

    def __init__(self, runtime: Runtime, web: Web) -> None:
        self.runtime = runtime
        self.web = web

    async def run(self, name: str, *changes: tuple[str, str]) -> str:
        """Deploy and activate a block, with some of its text changed; returns the instance."""
        source = module(name)
        for before, after in ((API, self.web.url), *changes):
            source = source.replace(before, after)
        return await self.runtime.run(source)

    async def result(self, name: str, method: str, *args: object) -> Any:
        """Deploy and activate a block and return the result of one of its methods."""
        return await self.runtime.invoke(await self.run(name), method, *args)

    async def failure(self, name: str, method: str) -> str:
        """Deploy and activate a block and return the type of the error that ends one of its methods."""
        return (await self.runtime.failure(await self.run(name), method)).type


@pytest_asyncio.fixture(loop_scope="session")
async def guide(tmp_path: Path, sandbox: ForkSource, shared_bundles: Path, web: Web) -> AsyncIterator[Guide]:
    """The guide, on a node whose executions get one second of CPU."""
    web.holds(6)
    settings = {"allow_private": (f"{web.url}/*",), "limit_cpu": 1.0}
    async with open_runtime(tmp_path, sandbox, shared_bundles, **settings) as runtime:
        yield Guide(runtime, web)


async def test_ordinary_clients_work(guide: Guide) -> None:
    assert '"has_more"' in await guide.result("clients", "fetch_item", 1)


# ── What it cannot do ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_attributes_are_forgotten(guide: Guide) -> None:
    assert await guide.result("forgetful", "token") is None


async def test_the_store_remembers(guide: Guide) -> None:
    assert await guide.result("mindful", "token") == "abc123"


async def test_a_long_loop_is_ended(guide: Guide) -> None:
    assert await guide.failure("endless", "sync_all") == "cpu_limit"


async def test_batches_go_on_to_the_end(guide: Guide) -> None:
    guide.web.holds(120)
    instance = await guide.run("batched")
    await guide.runtime.invoke(instance, "start_sync")
    await guide.runtime.drain()
    assert len(await guide.runtime.executions(instance, "sync_batch")) == 3
    assert await guide.runtime.keys(instance) == ["last_item"]


async def test_files_cannot_be_written(guide: Guide) -> None:
    assert issubclass(getattr(builtins, await guide.failure("scribbler", "save")), OSError)


async def test_the_store_takes_what_a_file_would(guide: Guide) -> None:
    instance = await guide.run("keeper")
    await guide.runtime.invoke(instance, "save")
    assert await guide.runtime.get(instance, "data") == {}


@pytest.mark.parametrize(("name", "known"), [("global_cache", False), ("stored_cache", True)])
async def test_globals_are_forgotten_and_keys_are_not(guide: Guide, name: str, known: bool) -> None:
    instance = await guide.run(name)
    await guide.runtime.invoke(instance, "remember", "ada")
    assert await guide.runtime.invoke(instance, "known", "ada") is known


# ── Keeping state ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_values_are_set_read_and_cleared(guide: Guide) -> None:
    assert await guide.result("state", "demonstrate") == ["config:channel", "config:workspace"]


async def test_a_prefix_is_cleared_at_once(guide: Guide) -> None:
    instance = await guide.run("prefixes")
    await guide.runtime.invoke(instance, "fill")
    kept = await guide.runtime.invoke(instance, "forget_cache")
    assert kept == ["config:workspace_id", "sync:last_run", "sync:page_token"]


async def test_cleaning_up_takes_keys_families_or_everything(guide: Guide) -> None:
    instance = await guide.run("cleanup")
    assert await guide.runtime.invoke(instance, "forget_some") == ["cache:user:456"]
    assert (await guide.runtime.deactivate(instance)).status == "succeeded"


async def test_callbacks_run_here_and_later(guide: Guide) -> None:
    instance = await guide.run("callbacks")
    assert await guide.runtime.invoke(instance, "finish") == "import is done"
    await guide.runtime.drain()
    assert [one.status for one in await guide.runtime.executions(instance, "report")] == ["succeeded"]


# ── Later, and again and again ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_digest_recurs_until_it_is_stopped(guide: Guide) -> None:
    instance = await guide.run("recurring")
    await guide.runtime.drain()
    assert await guide.runtime.get(instance, "seen") == 1
    await guide.runtime.invoke(instance, "slow_down")
    guide.runtime.clock.step(seconds=86_400 * 3)
    await guide.runtime.drain()
    assert len(await guide.runtime.executions(instance, "write_up")) == 1
    assert await guide.runtime.get(instance, "seen") == 2
    await guide.runtime.invoke(instance, "stop")
    assert {one.key for one in await guide.runtime.storage.recurring(instance)} == {"write_up", "tidy_up"}


async def test_patience_is_a_method_s_own(guide: Guide) -> None:
    instance = await guide.run("patient")
    version = await guide.runtime.storage.version((await guide.runtime.instance(instance)).twist)
    assert version is not None
    policies = {method.name: method.retry for method in version.manifest.methods}
    assert policies["fetch_export"] == RetryInfo(attempts=1000, first=2.0, maximum=600.0)
    assert policies["book"] == RetryInfo(attempts=8, first=2.0, maximum=600.0, ordered=True)


# ── Batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "method"), [("by_page", "sync_page"), ("by_token", "sync_batch")])
async def test_every_item_becomes_one_activity(guide: Guide, name: str, method: str) -> None:
    guide.web.holds(120)
    instance = await guide.run(name)
    await guide.runtime.invoke(instance, "start_sync")
    await guide.runtime.drain()
    assert await guide.runtime.titles() == sorted(item["title"] for item in guide.web.items)
    assert len(await guide.runtime.executions(instance, method)) == 3
    assert await guide.runtime.keys(instance) == []


async def test_an_array_is_worked_through_ten_at_a_time(guide: Guide) -> None:
    items = [f"item {number:02}" for number in range(25)]
    instance = await guide.run("by_item")
    await guide.runtime.invoke(instance, "process_large_array", items)
    await guide.runtime.drain()
    assert await guide.runtime.titles() == items
    assert len(await guide.runtime.executions(instance, "process_batch")) == 3


# ── Memory and speed ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_holding_everything_is_ended(guide: Guide) -> None:
    assert await guide.failure("hoarder", "sync_all") == "memory_limit"


async def test_one_page_at_a_time_is_not(guide: Guide) -> None:
    guide.web.holds(120)
    instance = await guide.run("streamer")
    await guide.runtime.invoke(instance, "sync_batch")
    await guide.runtime.drain()
    assert await guide.runtime.get(instance, "seen") == 120


async def test_only_what_is_needed_is_stored(guide: Guide) -> None:
    instance = await guide.run("frugal")
    await guide.runtime.invoke(instance, "load_user")
    assert await guide.runtime.get(instance, "user_email") == "123@example.com"


async def test_a_batch_is_one_request(guide: Guide) -> None:
    instance = await guide.run("batch_create")
    titles = [f"title {number}" for number in range(8)]
    slow, fast = [await guide.runtime.invoke(instance, method, titles) for method in ("slow", "fast")]
    assert fast - slow == len(titles) - 1


async def test_requests_are_made_in_parallel(guide: Guide) -> None:
    assert await guide.result("parallel", "load") == ["User 1", "User 2", "User 3"]


async def test_a_cached_user_is_fetched_once(guide: Guide) -> None:
    instance = await guide.run("cached")
    first, second = [await guide.runtime.invoke(instance, "user", "7") for _ in range(2)]
    assert first == second == {"name": "User 7", "email": "7@example.com"}
    assert len(guide.web.asked("/users/7")) == 1


async def test_a_second_delivery_does_nothing(guide: Guide) -> None:
    instance = await guide.run("debounced")
    assert [await guide.runtime.invoke(instance, "on_event", "e1") for _ in range(2)] == [True, False]


# ── Time, failures, tools ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_long_operation_hands_over_when_time_runs_out(guide: Guide) -> None:
    instance = await guide.run("watchful", ("timedelta(seconds=10)", "timedelta(hours=1)"))
    await guide.runtime.invoke(instance, "long_operation", [1, 2, 3])
    await guide.runtime.drain()
    assert len(await guide.runtime.executions(instance, "long_operation")) == 3
    assert await guide.runtime.keys(instance) == ["done:1", "done:2", "done:3"]


async def test_an_order_carries_its_key(guide: Guide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide.web, "answer", _sell)
    assert await guide.result("effects", "order", "tea") == "order of tea"
    (asked,) = guide.web.asked("/orders")
    assert asked.headers["idempotency-key"]


async def test_a_problem_is_told_before_giving_up(guide: Guide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide.web, "answer", _decline)
    instance = await guide.run("effects")
    assert (await guide.runtime.failure(instance, "order", "gold")).type == "GiveUp"
    assert await guide.runtime.titles() == ["The card was declined"]


def _sell(asked: Asked) -> tuple[int, Any]:
    return 200, {"order": "order of tea"}


def _decline(asked: Asked) -> tuple[int, Any]:
    return 402, {"error": "declined"}


async def test_a_new_version_finds_what_the_old_one_made(guide: Guide) -> None:
    instance = await guide.run("before")
    assert await guide.runtime.invoke(instance, "deliver") == "an item for inbox"
    await guide.runtime.deploy(module("after"))
    assert await guide.runtime.invoke(instance, "deliver") == "a new item for inbox"
    assert await guide.runtime.get(instance, "seen") == {"count": 3, "since_version": 1}


async def test_tools_keep_to_their_own_keys(guide: Guide) -> None:
    instance = await guide.run("tools")
    await guide.runtime.invoke(instance, "visit")
    assert await guide.runtime.invoke(instance, "visit") == [2, 20]
    assert await guide.runtime.keys(instance) == []
    assert await guide.runtime.get(instance, "value", "points") == 20


async def test_the_first_twist_of_the_readme(guide: Guide) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.name == "first"]
    instance = await guide.runtime.run(block.text)
    await guide.runtime.drain()
    await guide.runtime.invoke(instance, "greet", "Ada")
    assert await guide.runtime.keys(instance) == ["greeted:Ada", "greeted:world"]
    assert await guide.runtime.titles() == ["Say hello to Ada", "Say hello to world"]


async def test_the_second_twist_of_the_readme(guide: Guide) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.name == "second"]
    body = b'{"title": "A card has moved", "url": "https://board.example/1"}'
    async with open_station(guide.runtime, guide.web) as station:
        instance = await guide.runtime.run(block.text.replace(API, guide.web.url), token="hush-hush", signing="signing secret")
        (told,) = guide.web.asked("/users/me/hooks")
        signature = hmac.new(b"signing secret", body, "sha256").hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
        assert (await station.client.post(json.loads(told.body)["url"], content=body, headers=headers)).status_code == 202
        await guide.runtime.drain()
    assert {name.lower(): value for name, value in told.headers.items()}["authorization"] == "Bearer hush-hush"
    assert await guide.runtime.titles() == ["A card has moved"]
    await guide.runtime.invoke(instance, "each_morning")
    assert len(await guide.runtime.get(instance, "newest")) == 6


# ── Webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_signed_requests_are_received(guide: Guide) -> None:
    async with open_station(guide.runtime, guide.web) as station:
        instance = await guide.run("webhook")
        (told,) = guide.web.asked("/repos/me/mine/hooks")
        hook = json.loads(told.body)["config"]
        body = b'{"action": "opened"}'
        signature = hmac.new(hook["secret"].encode(), body, "sha256").hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
        assert (await station.client.post(hook["url"], content=body)).status_code == 401
        assert (await station.client.post(hook["url"], content=body, headers=headers)).status_code == 202
        await guide.runtime.drain()
        assert await guide.runtime.logs(instance) == ["issues: opened"]
        await guide.runtime.deactivate(instance)
        assert (await station.client.post(hook["url"], content=body, headers=headers)).status_code == 404


async def test_a_waiting_sender_is_answered(guide: Guide) -> None:
    async with open_station(guide.runtime, guide.web) as station:
        instance = await guide.run("command")
        url = await guide.runtime.get(instance, "url")
        answer = await station.client.post(url, data={"command": "/sync"})
        assert (answer.json(), answer.headers["cache-control"]) == ({"text": "/sync: done."}, "no-store")


# ── Options and secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_options_are_given_and_secrets_sent(guide: Guide) -> None:
    await guide.runtime.deploy(module("options"))
    instance = await guide.runtime.activate("optioned-sync", base_url=guide.web.url, token="hush-hush")
    assert await guide.runtime.invoke(instance, "sync") == 200
    (asked,) = guide.web.asked("/users/me")
    assert {name.lower(): value for name, value in asked.headers.items()}["authorization"] == "Bearer hush-hush"
