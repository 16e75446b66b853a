"""The audit beside a node that works: it repairs all the time, and there is never anything to repair."""

from __future__ import annotations

import pytest

from ropewalk.service.auditing import audit
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = """
from ropewalk import GiveUp, Retry, RetryPolicy, Twist

class Busy(Twist):
    retry = RetryPolicy(attempts=3, first=0.01, maximum=0.02)

    async def upgrade(self) -> None:
        await self.set("upgraded", True)  # VERSION

    async def begin(self, rounds: int) -> None:
        for number in range(rounds):
            await self.run_task(self.work, number, key=f"k{number % 7}" if number % 3 else None, delay=(number % 5) / 20)

    async def work(self, number: int) -> None:
        await self.set(f"n:{number % 10}", "x" * number)
        await self.callback(self.work, number % 20)
        await self.commit()
        if number % 4 == 0:
            await self.run_task(self.leaf)
        if number % 6 == 0 and self.execution.attempt < 2:
            raise Retry(after=0.01)
        if number % 11 == 0:
            raise GiveUp(f"{number} is unlucky")

    async def leaf(self) -> None:
        await self.delete_all_callbacks()
"""


async def test_an_audit_that_repairs_all_the_time_never_has_anything_to_repair(runtime: Runtime) -> None:
    instances = [await runtime.run(SOURCE)]
    twist = (await runtime.instance(instances[0])).twist_name
    instances += [await runtime.activate(twist) for _ in range(3)]
    for instance in instances:
        await runtime.queue(instance, "begin", 14)
    audits = 0
    while (load := await runtime.storage.workload()).ready or load.running or load.backing_off or load.next_wake is not None:
        assert await audit(runtime.service, repair=True) == []
        audits += 1
        if audits == 5:
            await runtime.deploy(SOURCE.replace("VERSION", "2"), name=twist)
        if audits == 10:
            await runtime.service.deactivate(instances[3])
    assert audits > 10
    await runtime.drain()
    assert await audit(runtime.service, repair=True) == []
