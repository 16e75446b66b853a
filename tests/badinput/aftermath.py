"""What must be so after anything that went wrong: the same instance goes on, and nothing is stuck."""

from __future__ import annotations

from ropewalk.storage.records import ErrorInfo
from tests.harness.checks import assert_idle, assert_whole
from tests.harness.runtime import Runtime

BENIGN = """
from ropewalk import Priority, Twist

class Benign(Twist):
    async def activate(self, priority: Priority) -> None:
        await self.set("activated", True)

    async def benign(self) -> str:
        await self.set("benign", True)
        return "fine"
"""


async def assert_goes_on(runtime: Runtime, instance: str) -> None:
    """Fail unless the instance still runs what it is asked to, and nothing is left undone."""
    assert await runtime.invoke(instance, "benign") == "fine"
    await runtime.drain()
    assert await runtime.storage.audit(runtime.clock.now(), repair=False) == []
    assert_whole(runtime.database)
    assert_idle(runtime.database)


async def assert_fails(runtime: Runtime, instance: str, method: str, *args: object) -> ErrorInfo:
    """Have a method fail, see that nothing of it is kept and that the instance goes on; returns why it failed."""
    before = await runtime.keys(instance)
    why = await runtime.failure(instance, method, *args)
    assert await runtime.keys(instance) == before
    await assert_goes_on(runtime, instance)
    return why
