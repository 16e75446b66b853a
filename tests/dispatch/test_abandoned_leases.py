"""Whatever goes wrong on the node itself while it settles, an instance does not wait for that node's end (G6)."""

from __future__ import annotations

import pytest

from ropewalk.service.auditing import audit
from ropewalk.storage.records import Settled, Settlement
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = """
from ropewalk import Twist

class Counter(Twist):
    async def count(self) -> int:
        number = await self.get("count", int, default=0) + 1
        await self.set("count", number)
        return number
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
