"""Instances that are deactivated whatever they are at, and whatever their `deactivate()` does: they are gone, and nothing of them runs (G10)."""

from __future__ import annotations

import pytest

from ropewalk.dispatch import dispatcher
from ropewalk.queue import retries
from ropewalk.storage.records import Execution
from ropewalk.wire.control import RetryInfo
from tests.harness.checks import assert_idle, assert_whole, rows
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = """
    import asyncio, os, time
    from ropewalk import GiveUp, NewActivity, ActivityType, PermissionDenied, Retry, Tool, Twist
    from ropewalk.tools import Plot


    class Part(Tool):
        plot = Plot()

        async def pre_deactivate(self) -> None:
            await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="pre"))

        async def post_deactivate(self) -> None:
            await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="post"))


    class Leaves(Twist):
        part = Part()
        plot = Plot()

        async def activate(self, priority) -> None:
            {activate}

        async def upgrade(self) -> None:
            {upgrade}

        async def deactivate(self) -> None:
            await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="deactivate"))
            {deactivate}

        async def fill(self) -> None:
            await self.set("key", "value")
            await self.callback(self.fill)
            await self.run_task(self.fill, delay=3600)

        async def slow(self) -> None:
            self.log.info("slow begins")
            await asyncio.sleep(60)
"""


def twist(activate: str = "pass", upgrade: str = "pass", deactivate: str = "pass") -> str:
    """Return the twist, with these lines in its lifecycle methods."""
    return TWIST.format(activate=activate, upgrade=upgrade, deactivate=deactivate)


LEFT = """
    select 'store' from store where instance = ?1 union all select 'callbacks' from callbacks where instance = ?1
    union all select 'keys' from data_keys where instance = ?1 union all select 'secrets' from secrets where instance = ?1
    union all select 'webhooks' from webhooks where instance = ?1 union all select 'recurring' from recurring where instance = ?1
    """


async def leave(runtime: Runtime, instance: str) -> Execution:
    """Deactivate an instance, see everything of it erased, and return the execution of its `deactivate`."""
    last = await runtime.deactivate(instance)
    assert await runtime.storage.instance(instance) is None
    while await runtime.storage.erase(100):
        pass
    assert rows(runtime.database, LEFT, instance) == []
    await runtime.drain()
    pending = "select count(*) from executions where instance = ? and (seq is not null or due is not null or status = 'running')"
    assert rows(runtime.database, pending, instance) == [0]
    after = await runtime.executions(instance)
    assert after[-1].id == last.id, "something ran after deactivate()"
    assert_whole(runtime.database)
    assert_idle(runtime.database)
    return last


async def test_hooks_and_deactivate_run_in_order(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    await runtime.invoke(instance, "fill")
    assert (await leave(runtime, instance)).status == "succeeded"
    assert [one.activity.title for one in await runtime.activities()] == ["pre", "deactivate", "post"]


@pytest.mark.parametrize(
    ("line", "status", "error", "attempts"),
    [
        ("raise ValueError('no')", "dead", "ValueError", 3),
        ("raise GiveUp('no')", "dead", "GiveUp", 1),
        ("raise Retry(after=3600)", "dead", "Retry", 3),
        ("os._exit(3)", "dead", "crash", 3),
        ("self.kept = bytearray(2**30)", "dead", "memory_limit", 2),
        ("await self.commit()", "dead", "PermissionDenied", 3),
        ("await self.run_task(self.fill)", "dead", "PermissionDenied", 3),
        ("await self.run_task(self.fill, delay=5)", "dead", "PermissionDenied", 3),
    ],
)
async def test_a_deactivate_that_fails_ends_the_instance_all_the_same(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, line: str, status: str, error: str, attempts: int
) -> None:
    monkeypatch.setattr(retries, "DEACTIVATION", RetryInfo(attempts=3, first=0.01, maximum=0.05))
    instance = await runtime.run(twist(deactivate=line))
    await runtime.invoke(instance, "fill")
    last = await leave(runtime, instance)
    assert (last.status, last.error and last.error.type, last.attempt) == (status, error, attempts)
    assert await runtime.titles() == []
    assert await runtime.told() == ["leaves: 1 execution has failed for good"]


async def test_a_deactivate_that_hangs_is_ended_in_time(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "DEACTIVATION_TIME", 400_000)
    instance = await runtime.run(twist(deactivate="time.sleep(600)"))
    last = await leave(runtime, instance)
    assert (last.status, last.error and last.error.type, last.attempt) == ("dead", "timeout", 1)


async def test_a_refused_task_may_be_caught(runtime: Runtime) -> None:
    caught = """try:
                await self.run_task(self.fill)
            except PermissionDenied as error:
                print(error)"""
    instance = await runtime.run(twist(deactivate=caught))
    assert (await leave(runtime, instance)).status == "succeeded"
    assert any("run_task() cannot be used while an instance is deactivated" in text for text in await runtime.logs(instance))


# ── Whatever it is at ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def until_running(runtime: Runtime, instance: str, method: str) -> Execution:
    """Wait until a method of an instance runs."""

    async def running() -> list[Execution]:
        return [one for one in await runtime.executions(instance, method) if one.status == "running"]

    await runtime.start()
    (found,) = await eventually(running, f"{method}() to run")
    return found


@pytest.fixture
def graceless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what runs be ended soon."""
    monkeypatch.setattr(dispatcher, "DEACTIVATION_GRACE", 0.2)


@pytest.mark.usefixtures("graceless")
async def test_what_runs_is_given_its_time_and_ended(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    slow = await runtime.queue(instance, "slow")
    await until_running(runtime, instance, "slow")
    assert (await leave(runtime, instance)).status == "succeeded"
    ended = await runtime.execution(slow)
    assert (ended.status, ended.error and ended.error.message) == ("cancelled", "its instance is being deactivated")


@pytest.mark.usefixtures("graceless")
async def test_an_activation_that_runs_is_ended(runtime: Runtime) -> None:
    await runtime.deploy(twist(activate="await asyncio.sleep(60)"))
    instance = await runtime.activate("leaves")
    await until_running(runtime, instance, "activate")
    assert (await leave(runtime, instance)).status == "succeeded"


async def test_an_activation_that_is_dead_or_waits(runtime: Runtime) -> None:
    await runtime.deploy(twist(activate="raise GiveUp('no')"))
    failed = await runtime.activate("leaves")
    await runtime.drain()
    assert (await runtime.instance(failed)).status == "failed"
    assert (await leave(runtime, failed)).status == "succeeded"
    await runtime.deploy(twist(activate="raise Retry(after=3600)"))
    waiting = await runtime.activate("leaves")

    async def backs_off() -> bool:
        return (await runtime.executions(waiting))[0].status == "retrying"

    await eventually(backs_off, "the activation to back off")
    assert (await leave(runtime, waiting)).status == "succeeded"


@pytest.mark.usefixtures("graceless")
async def test_an_upgrade_that_runs_is_ended(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    await runtime.deploy(twist(upgrade="await asyncio.sleep(60)"))
    await until_running(runtime, instance, "upgrade")
    last = await leave(runtime, instance)
    assert (last.status, last.version) == ("succeeded", 1)


async def test_a_suspended_instance_leaves(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    await runtime.service.suspend(instance, "why not")
    assert (await leave(runtime, instance)).status == "succeeded"


async def test_an_instance_that_waits_for_a_grant_leaves(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    wider = twist().replace("plot = Plot()", 'plot = Plot(activity_access="write")')
    await runtime.deploy(wider, grant=False)
    assert (await runtime.instance(instance)).awaiting == 2
    assert (await leave(runtime, instance)).version == 1


async def test_deactivating_twice_at_once_is_deactivating_once(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    first = await runtime.service.deactivate(instance)
    await runtime.service.deactivate(instance)
    await runtime.finish(first)
    assert len(await runtime.executions(instance, "deactivate")) == 1
    assert await runtime.storage.instance(instance) is None
