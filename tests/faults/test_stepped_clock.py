"""A wall clock that is stepped: what is ready runs all the same, what has a time waits for it, and order is that of readiness."""

from __future__ import annotations

import pytest

from tests.harness.checks import assert_idle, assert_whole
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOUR = 3600

SOURCE = """
from datetime import UTC, datetime
from ropewalk import RetryPolicy, Twist

class Timed(Twist):
    retry = RetryPolicy(first=0.01, maximum=0.02)

    async def chain(self, left: int) -> None:
        await self.set(f"chain:{left:02}", True)
        if left:
            await self.run_task(self.chain, left - 1)

    async def later(self, seconds: float, name: str) -> None:
        await self.run_task(self.mark, name, delay=seconds)

    async def soon(self, name: str) -> None:
        await self.run_task(self.mark, name)

    async def mark(self, name: str) -> None:
        await self.set("order", [*await self.get("order", list[str], default=[]), name])

    async def passing(self) -> None:
        await self.set("passing", True, ttl=60)

    async def fails_once(self) -> None:
        if self.execution.attempt == 1:
            raise ValueError("once")
        await self.set("failed once", True)

    async def begin_failing(self) -> None:
        await self.run_task(self.fails_once)
"""


async def whole(runtime: Runtime) -> None:
    """Nothing is stuck, and the books of the database are right."""
    assert await runtime.storage.audit(runtime.clock.now(), repair=False) == []
    assert_whole(runtime.database)


async def test_a_chain_goes_on_over_an_hours_step_back(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "chain", 60)

    async def is_half_way() -> bool:
        return len(await runtime.keys(instance, "chain:")) >= 20

    await eventually(is_half_way, "a part of the chain to have run")
    runtime.clock.step(seconds=-HOUR)
    await runtime.drain()
    assert len(await runtime.keys(instance, "chain:")) == 61
    await whole(runtime)
    assert_idle(runtime.database)


async def test_what_is_ready_before_the_step_back_goes_first(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.stop()
    first = await runtime.queue(instance, "mark", "first")
    runtime.clock.step(seconds=-HOUR)
    second = await runtime.queue(instance, "mark", "second")
    for execution in (first, second):
        assert (await runtime.finish(execution)).status == "succeeded"
    assert await runtime.get(instance, "order") == ["first", "second"]
    await whole(runtime)


async def test_a_task_with_a_time_waits_for_that_time(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "later", 60, "in a minute")
    runtime.clock.step(seconds=-HOUR)
    await runtime.invoke(instance, "soon", "now")
    await runtime.drain()
    assert await runtime.get(instance, "order") == ["now"]
    runtime.clock.step(seconds=HOUR + 61)
    await runtime.drain()
    assert await runtime.get(instance, "order") == ["now", "in a minute"]
    await whole(runtime)


async def test_timers_that_come_due_together_run_in_the_order_of_their_times(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    for seconds in (300, 100, 200):
        await runtime.invoke(instance, "later", seconds, f"after {seconds}")
    runtime.clock.step(seconds=HOUR)
    await runtime.drain()
    assert await runtime.get(instance, "order") == ["after 100", "after 200", "after 300"]


async def test_a_retry_comes_when_the_clock_says_so(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "begin_failing")
    runtime.clock.step(seconds=-HOUR)
    runtime.clock.step(seconds=HOUR + 1)
    await runtime.drain()
    assert await runtime.get(instance, "failed once") is True
    await whole(runtime)


async def test_a_value_with_a_time_to_live_lives_by_the_wall_clock(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "passing")
    assert await runtime.get(instance, "passing") is True
    runtime.clock.step(seconds=61)
    assert await runtime.get(instance, "passing") is None
    await whole(runtime)


async def test_the_node_keeps_its_leases_whatever_the_wall_clock_does(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    for step in (-HOUR, 48 * HOUR, -48 * HOUR, HOUR):
        runtime.clock.step(seconds=step)
        await runtime.invoke(instance, "soon", str(step))
    await runtime.drain()
    assert len(await runtime.get(instance, "order")) == 4
    assert [one.lost for one in await runtime.executions(instance)] == [0] * len(await runtime.executions(instance))
    await whole(runtime)


RECURS = """
from ropewalk import Priority, Twist

class Recurs(Twist):
    async def activate(self, priority: Priority) -> None:
        await self.schedule_recurring("k", self.tick, every=600)

    async def tick(self) -> None:
        await self.set("ticks", await self.get("ticks", int, default=0) + 1)
"""


async def test_what_recurs_comes_back_from_a_clock_that_was_years_ahead(runtime: Runtime) -> None:
    instance = await runtime.run(RECURS)
    runtime.clock.step(seconds=10 * 365 * 24 * HOUR)
    await runtime.drain()
    assert await runtime.get(instance, "ticks") == 1
    runtime.clock.step(seconds=-10 * 365 * 24 * HOUR)

    async def goes_on() -> bool:
        (one,) = await runtime.storage.recurring(instance)
        return one.next < runtime.clock.now() + 600_000_000

    await eventually(goes_on, "the node to see that the clock was set back")
    runtime.clock.step(seconds=600)
    await runtime.drain()
    assert await runtime.get(instance, "ticks") == 2
    await whole(runtime)


async def test_what_recurs_runs_no_tick_twice_over_an_hours_step_back(runtime: Runtime) -> None:
    instance = await runtime.run(RECURS)
    runtime.clock.step(seconds=600)
    await runtime.drain()
    runtime.clock.step(seconds=-HOUR)
    for _ in range(6):
        runtime.clock.step(seconds=600)
        await runtime.drain()
    assert await runtime.get(instance, "ticks") == 1
    runtime.clock.step(seconds=600)
    await runtime.drain()
    assert await runtime.get(instance, "ticks") == 2
    await whole(runtime)
