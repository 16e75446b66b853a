"""Callbacks that nothing mentions are removed by whichever node is there, and what is kept still works."""

from __future__ import annotations

import pytest

from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = """
    from ropewalk import Twist


    class Calls(Twist):
        async def keep(self):
            await self.set("kept", {"then": [await self.callback(self.report, "kept")]})

        async def lose(self):
            for number in range(3):
                await self.callback(self.report, str(number))

        async def call(self):
            return await self.run((await self.get("kept"))["then"][0])

        async def report(self, what: str) -> str:
            return what
    """


async def test_a_node_removes_callbacks_that_nothing_mentions(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST)
    await runtime.invoke(instance, "keep")
    await runtime.invoke(instance, "lose")
    assert (await runtime.instance(instance)).callbacks == 4
    await runtime.stop()
    runtime.clock.step(seconds=90_000)
    await runtime.start()

    async def one_is_left() -> bool:
        return (await runtime.instance(instance)).callbacks == 1

    await eventually(one_is_left, "three callbacks to be removed")
    assert await runtime.invoke(instance, "call") == "kept"
