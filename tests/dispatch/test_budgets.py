"""Budgets of instances, through a real node: what loops is stopped and said, neighbours go on, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from ropewalk.service.shapes import budgets_shape
from ropewalk.storage.records import Suspension
from tests.harness.checks import assert_whole
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opened = Callable[..., AbstractAsyncContextManager[Runtime]]

LOOPS = """
    from ropewalk import NetworkDenied, Options, QueueFull, Twist
    from ropewalk.tools import Network, Plot


    class LoopsOptions(Options):
        base_url: str = "http://127.0.0.1:1"


    class Loops(Twist):
        \"\"\"Does without end what the test asks for.\"\"\"

        options: LoopsOptions
        network = Network(urls=["{base_url}/*"])
        plot = Plot()

        async def ping(self) -> None:
            await self.set("turns", (await self.get("turns", int) or 0) + 1)
            await self.run_task(self.pong)

        async def pong(self) -> None:
            await self.run_task(self.ping, delay=0.001)

        async def hourly(self) -> None:
            await self.run_task(self.hourly, delay=61)

        async def many(self, count: int) -> None:
            for number in range(count):
                await self.run_task(self.note, number)

        async def note(self, number: int) -> None:
            await self.set(f"noted:{number:04}", True)

        async def hello(self) -> str:
            return "hello"

        async def fetches(self, count: int) -> list[str]:
            said = []
            for _ in range(count):
                try:
                    said.append(str((await self.network.fetch(self.options.base_url + "/one/a")).status))
                except NetworkDenied as error:
                    said.append(str(error))
            return said

        async def tasks_until_full(self, text: str, commits: bool = False) -> str:
            for _ in range(1000):
                try:
                    await self.run_task(self.hold, text, delay=3600)
                except QueueFull as error:
                    return str(error)
                if commits:
                    await self.commit()
            return "never"

        async def hold(self, text: str) -> None:
            ...

        async def callbacks_until_full(self) -> str:
            for number in range(1000):
                try:
                    await self.callback(self.note, number)
                except QueueFull as error:
                    await self.callback(self.note, 0)
                    return str(error)
            return "never"

        async def activities(self) -> int:
            return len((await self.plot.list_activities()).items)
    """


async def is_suspended(runtime: Runtime, instance: str) -> bool:
    """Whether an instance is suspended."""
    return (await runtime.instance(instance)).status == "suspended"


async def loop(runtime: Runtime, method: str = "ping") -> str:
    """Make an instance that loops, and wait until it is suspended."""
    instance = await runtime.run(LOOPS)
    await runtime.queue(instance, method)
    await runtime.start()
    await eventually(lambda: is_suspended(runtime, instance), "the loop to be stopped")
    return instance


async def used(runtime: Runtime, instance: str) -> dict[str, Any]:
    """Return what an instance has used of each budget."""
    found = await runtime.instance(instance)
    shape = budgets_shape(found, runtime.limits, runtime.clock.now())
    return {name: one["used"] for name, one in shape.items()}


# ── Chains ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_loop_is_stopped_at_its_depth_and_named(opened: Opened) -> None:
    async with opened(limit_chain=20) as runtime:
        instance = await loop(runtime)
        assert await runtime.get(instance, "turns") == 11
        assert (await used(runtime, instance))["chain"] == 20
        notes = {one.activity.title: await runtime.notes(one.activity.id) for one in await runtime.activities()}
        (note,) = notes["loops is suspended: a chain of tasks 21 deep, and the limit is 20"]
        assert "ping → pong → ping" in note.content or "pong → ping → pong" in note.content
        assert any("21 deep" in line for line in await runtime.logs(instance))
        assert_whole(runtime.database)


async def test_a_task_of_more_than_a_minute_later_begins_a_new_chain(opened: Opened) -> None:
    async with opened(limit_chain=3) as runtime:
        instance = await runtime.run(LOOPS)
        await runtime.invoke(instance, "hourly")
        for _ in range(6):
            runtime.clock.step(seconds=62)
            await runtime.drain()
        assert not await is_suspended(runtime, instance)
        assert len(await runtime.executions(instance, "hourly")) == 7


async def test_twists_do_not_see_the_notes_about_them(opened: Opened) -> None:
    async with opened(limit_chain=5) as runtime:
        instance = await loop(runtime)
        await runtime.service.resume(instance)
        assert await runtime.invoke(instance, "activities") == 0


async def test_a_new_version_lifts_it_and_what_waited_runs(opened: Opened) -> None:
    async with opened(limit_chain=10) as runtime:
        instance = await loop(runtime)
        waiting = await runtime.storage.tasks(instance)
        mended = LOOPS.replace("await self.run_task(self.ping, delay=0.001)", 'await self.set("mended", True)')
        await runtime.deploy(mended)
        await runtime.drain()
        assert (await runtime.instance(instance)).version == 2
        assert await runtime.get(instance, "mended") is True
        assert [(await runtime.execution(one.id)).status for one in waiting] == ["succeeded"]


# ── Days ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_days_executions_are_bounded_and_the_rest_waits(opened: Opened) -> None:
    async with opened(limit_daily=30) as runtime:
        instance = await runtime.run(LOOPS)
        await runtime.invoke(instance, "many", 40)
        await runtime.drain()
        assert await is_suspended(runtime, instance)
        assert len(await runtime.keys(instance, "noted:")) == 28
        assert (await used(runtime, instance))["daily"] == 30
        await runtime.service.resume(instance)
        await runtime.drain()
        assert len(await runtime.keys(instance, "noted:")) == 40


async def test_days_pass(opened: Opened) -> None:
    async with opened(limit_daily=30) as runtime:
        instance = await runtime.run(LOOPS)
        for _ in range(3):
            await runtime.invoke(instance, "many", 25)
            await runtime.drain()
            runtime.clock.step(seconds=24 * 3600)
        assert not await is_suspended(runtime, instance)
        assert (await used(runtime, instance))["daily"] == 0


# ── Pace ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_pace_waits_and_loses_nothing(opened: Opened) -> None:
    async with opened(pace_burst=10, pace_rate=0.001) as runtime:
        instance = await runtime.run(LOOPS)
        await runtime.invoke(instance, "many", 12)
        await noted(runtime, instance, 8)
        runtime.clock.step(seconds=999)
        runtime.service.ring()
        assert (await used(runtime, instance))["pace"] == 10
        assert (await runtime.storage.workload()).ready == 4
        for count, seconds in enumerate((2, 1000, 1000, 1000), 9):
            runtime.clock.step(seconds=seconds)
            await noted(runtime, instance, count)


async def noted(runtime: Runtime, instance: str, count: int) -> None:
    """Wait until so many notes have been written, and no more."""

    async def are_written() -> bool:
        return len(await runtime.keys(instance, "noted:")) == count

    await eventually(are_written, f"{count} executions")


async def test_a_flood_of_one_instance_does_not_hold_up_another(opened: Opened) -> None:
    """One execution at a time: the other's turn comes long before the flood is over."""
    async with opened(concurrency=1) as runtime:
        flood = await runtime.run(LOOPS)
        other = await runtime.run(LOOPS.replace("Loops", "Other"))
        await runtime.invoke(flood, "many", 800)
        assert await runtime.invoke(other, "hello") == "hello"
        assert (await runtime.instance(flood)).pending > 100


# ── Suspended by hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_operators_suspension_outlives_versions(opened: Opened) -> None:
    async with opened() as runtime:
        instance = await runtime.run(LOOPS)
        await runtime.service.suspend(instance, "to look into it")
        await runtime.deploy(LOOPS.replace("without end", "again and again"))
        await runtime.drain()
        found = await runtime.instance(instance)
        assert (found.status, found.version) == ("suspended", 1)
        assert isinstance(found.suspension, Suspension)
        assert found.suspension.reason == "to look into it"
        await runtime.service.resume(instance)
        await runtime.drain()
        assert (await runtime.instance(instance)).version == 2


# ── What raises ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_that_come_too_fast_are_denied_and_may_be_caught(opened: Opened, web: Web) -> None:
    async with opened(allow_private=(f"{web.url}/*",), egress_burst=3, egress_rate=0.001) as runtime:
        instance = await runtime.run(LOOPS, base_url=web.url)
        said = await runtime.invoke(instance, "fetches", 5)
        assert said[:3] == ["200"] * 3
        assert all("3 at once and then 0.001 a second" in text for text in said[3:])
        assert len(web.requests) == 3


async def test_each_instance_has_requests_of_its_own(opened: Opened, web: Web) -> None:
    async with opened(allow_private=(f"{web.url}/*",), egress_burst=2, egress_rate=0.001) as runtime:
        first = await runtime.run(LOOPS, base_url=web.url)
        second = await runtime.activate("loops", base_url=web.url)
        await runtime.drain()
        for instance in (first, second):
            assert (await runtime.invoke(instance, "fetches", 3))[:2] == ["200", "200"]


async def test_a_queue_is_full_by_count(opened: Opened) -> None:
    async with opened(limit_queue=20) as runtime:
        instance = await runtime.run(LOOPS)
        assert "20 pending events" in await runtime.invoke(instance, "tasks_until_full", "")
        assert (await runtime.instance(instance)).pending == 19


async def test_a_queue_is_full_over_commits_too(opened: Opened) -> None:
    async with opened(limit_queue=20) as runtime:
        instance = await runtime.run(LOOPS)
        assert "20 pending events" in await runtime.invoke(instance, "tasks_until_full", "", True)
        assert (await runtime.executions(instance))[-1].attempt == 1


async def test_a_queue_is_full_by_bytes(opened: Opened) -> None:
    async with opened(limit_queue_bytes=10_000) as runtime:
        instance = await runtime.run(LOOPS)
        assert "may have 10,000" in await runtime.invoke(instance, "tasks_until_full", "x" * 900)
        assert 8_000 < (await used(runtime, instance))["pending_bytes"] <= 10_000


async def test_callbacks_are_bounded_and_those_that_are_there_go_on(opened: Opened) -> None:
    async with opened(limit_callbacks=10) as runtime:
        instance = await runtime.run(LOOPS)
        for _ in range(2):
            assert "10 callbacks" in await runtime.invoke(instance, "callbacks_until_full")
        assert (await used(runtime, instance))["callbacks"] == 10
