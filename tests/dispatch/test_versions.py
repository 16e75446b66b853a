"""Which version runs what: executions in progress keep theirs, what starts later has the instance's, retries too (G2, Versions)."""

from __future__ import annotations

import msgspec
import pytest

from ropewalk.storage.records import Execution
from ropewalk.wire.messages import Target
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = """
    import asyncio
    from ropewalk import GiveUp, Retry, Tool, Twist


    class Part(Tool):
        async def pre_upgrade(self) -> None:
            await self.set("pre", self.execution.version)

        async def post_upgrade(self) -> None:
            {post_upgrade}


    class Versioned(Twist):
        part = Part()

        async def upgrade(self) -> None:
            await self.set("upgraded", [self.execution.previous_version, self.execution.version])
            {upgrade}

        async def slow(self) -> int:
            await asyncio.sleep(1)  # while the test deploys
            return self.execution.version

        async def version(self) -> int:
            return self.execution.version

        async def remember(self) -> None:
            await self.set("remembered", [*await self.get("remembered", list[int], default=[]), self.execution.version])

        async def work(self) -> None:
            await self.run_task(self.remember)

        async def flaky(self) -> None:
            {flaky}
    {rest}
"""


def twist(**parts: str) -> str:
    """Return the twist, with these lines put in."""
    return TWIST.format(**{"post_upgrade": "pass", "upgrade": "pass", "flaky": "pass", "rest": ""} | parts)


async def running(runtime: Runtime, instance: str, method: str) -> Execution:
    """Wait until a method of an instance runs."""

    async def found() -> list[Execution]:
        return [one for one in await runtime.executions(instance, method) if one.status == "running"]

    await runtime.start()
    return (await eventually(found, f"{method}() to run"))[0]


async def test_what_runs_finishes_in_its_version_and_what_waits_runs_after_the_upgrade(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    slow = await runtime.queue(instance, "slow")
    await running(runtime, instance, "slow")
    await runtime.service.invoke(await runtime.instance(instance), Target(ns="", method="work"))
    await runtime.deploy(twist(rest="# changed"))
    assert msgspec.json.decode((await runtime.finish(slow)).result or b"") == 1
    await runtime.drain()
    assert await runtime.get(instance, "remembered") == [2]
    order = [one.trigger for one in sorted(await runtime.executions(instance), key=lambda one: one.started_at or 0)]
    assert order == ["activate", "invoke", "upgrade", "invoke", "task"]


async def test_a_retry_runs_in_the_version_that_the_instance_has_then(runtime: Runtime) -> None:
    instance = await runtime.run(twist(flaky="raise Retry(after=3600)", rest=ASKS))
    await runtime.invoke(instance, "ask")

    async def backs_off() -> bool:
        return (await runtime.executions(instance, "flaky"))[0].status == "retrying"

    await eventually(backs_off, "the task to back off")
    await runtime.deploy(twist(flaky="await self.remember()", rest=ASKS))
    (flaky,) = await runtime.executions(instance, "flaky")
    await runtime.storage.retry(flaky.id, runtime.clock.now())
    await runtime.drain()
    assert [attempt.version for attempt in await runtime.storage.attempts(flaky.id)] == [1, 2]
    assert await runtime.get(instance, "remembered") == [2]


ASKS = """
        async def ask(self) -> None:
            await self.run_task(self.flaky)
"""


async def test_what_finds_no_method_fails_and_is_not_tried_again(runtime: Runtime) -> None:
    gone = "async def gone(self) -> None: ..."
    instance = await runtime.run(
        twist(rest=f"    {gone}\n        async def later(self) -> None:\n            await self.run_task(self.gone, delay=60)")
    )
    await runtime.invoke(instance, "later")
    await runtime.deploy(twist(), force=True)
    runtime.clock.step(seconds=60)
    await runtime.drain()
    (failed,) = await runtime.executions(instance, "gone")
    assert (failed.status, failed.attempt, failed.error and failed.error.type) == ("failed", 1, "CallbackNotFound")


async def test_an_upgrade_happens_as_a_whole_with_its_hooks(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    await runtime.deploy(twist(post_upgrade="raise GiveUp('not yet')"))
    await runtime.drain()
    failed = await runtime.instance(instance)
    assert (failed.version, failed.upgrade_error) == (1, "GiveUp: not yet")
    assert await runtime.told() == ["versioned: 1 execution has failed for good"]
    assert await runtime.keys(instance) == []
    assert await runtime.keys(instance, ns="part") == []
    assert await runtime.invoke(instance, "version") == 1


async def test_versions_that_were_not_reached_are_skipped(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    await runtime.deploy(twist(upgrade="raise GiveUp('never')"))
    await runtime.drain()
    await runtime.deploy(twist(rest="# mended"))
    await runtime.drain()
    assert await runtime.get(instance, "upgraded") == [1, 3]
    assert await runtime.get(instance, "pre", "part") == 3
    assert (await runtime.instance(instance)).upgrade_error is None


async def test_a_dead_upgrade_is_retried_by_hand(runtime: Runtime) -> None:
    instance = await runtime.run(twist())
    await runtime.deploy(twist(upgrade="if self.execution.attempt == 1: raise GiveUp('not now')"))
    await runtime.drain()
    (upgrade,) = await runtime.executions(instance, "upgrade")
    assert upgrade.status == "dead"
    await runtime.storage.retry(upgrade.id, runtime.clock.now())
    await runtime.drain()
    assert (await runtime.instance(instance)).version == 2
