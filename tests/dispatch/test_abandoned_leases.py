"""Whatever goes wrong on the node itself while it settles, an instance does not wait for that node's end (G6)."""

from __future__ import annotations

import gc

import pytest

from ropewalk.service.auditing import audit
from ropewalk.storage.records import NewExecution, Settled, Settlement
from ropewalk.wire.messages import Target
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = """
import asyncio
from ropewalk import Twist

class Counter(Twist):
    async def count(self) -> int:
        number = await self.get("count", int, default=0) + 1
        await self.set("count", number)
        return number

    async def linger(self) -> None:
        await asyncio.Event().wait()
"""


async def test_a_lease_that_nothing_uses_is_given_up(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = await runtime.run(SOURCE)
    settle, broken = runtime.storage.settle, [RuntimeError("a mistake of the node's")]

    async def fails_once(settlement: Settlement) -> Settled:
        if broken:
            raise broken.pop()
        return await settle(settlement)

    monkeypatch.setattr(runtime.storage, "settle", fails_once)
    execution = await runtime.queue(instance, "count")
    finished = await runtime.finish(execution)
    assert (finished.status, finished.lost, finished.tries) == ("succeeded", 1, 1)
    assert await runtime.get(instance, "count") == 1
    assert [finding.name for finding in await audit(runtime.service, repair=False)] == []


async def test_one_that_was_cancelled_unheard_is_in_nobody_s_way(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    instance = await runtime.run(SOURCE)
    first = await runtime.queue(instance, "linger")

    async def runs() -> bool:
        return (await runtime.execution(first)).status == "running"

    await eventually(runs, "the first to run")
    await runtime.storage.cancel(first, runtime.clock.now())  # and nobody rings: the node finds the next one by itself
    target = Target(ns="", method="count")
    second = NewExecution(id="2" * 24, instance=instance, trigger="task", target=target, cause="", at=runtime.clock.now())
    await runtime.storage.enqueue(second)
    assert (await runtime.finish(second.id)).status == "succeeded"
    assert await runtime.invoke(instance, "count") == 2
    await runtime.stop()
    gc.collect()  # a task that failed unheard says so when it goes
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
