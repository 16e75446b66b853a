"""The memory of the node as a whole: executions wait for theirs, and all succeed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ropewalk.sandbox.source import ForkSource
from ropewalk.storage.records import Execution
from tests.harness.runtime import Runtime, open_runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
LIMIT = 64 * MIB
FILLS = """
import time
from ropewalk import Limits, Twist

class Fills(Twist):
    limits = Limits(memory=64 * 1024 * 1024)

    async def fill(self, share: float) -> int:
        held = b"x" * int(share * 64 * 1024 * 1024)
        time.sleep(0.05)
        return len(held)

    async def wait(self, seconds: float) -> None:
        time.sleep(seconds)
"""


@asynccontextmanager
async def node_of(folder: Path, memory: int) -> AsyncIterator[Runtime]:
    """Give a runtime whose node has so much memory for its executions."""
    bundles = folder / "bundles"
    bundles.mkdir(mode=0o755)
    source = ForkSource(str(bundles), memory=memory)
    await source.start()
    try:
        async with open_runtime(folder, source, bundles, concurrency=16) as runtime:
            yield runtime
    finally:
        await source.stop()


def most_at_once(executions: list[Execution]) -> int:
    """Return how many of them ran at the same time, at the most."""
    changes = [(one.started_at, 1) for one in executions] + [(one.finished_at, -1) for one in executions]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


async def test_executions_wait_for_memory_and_all_succeed(tmp_path: Path) -> None:
    async with node_of(tmp_path, memory=int(2.7 * LIMIT)) as runtime:
        await runtime.deploy(FILLS)
        instances = [await runtime.activate("fills") for _ in range(10)]
        await runtime.drain()
        queued = [await runtime.queue(instance, "fill", 0.9) for instance in instances]
        executions = [await runtime.finish(one) for one in queued]
        assert {one.status for one in executions} == {"succeeded"}
        assert {one.attempt for one in executions} == {1}
        assert min(one.memory_peak for one in executions) > 0.8 * LIMIT
        assert most_at_once(executions) == 2


async def test_who_waits_is_counted(tmp_path: Path) -> None:
    async with node_of(tmp_path, memory=int(2.7 * LIMIT)) as runtime:
        await runtime.deploy(FILLS)
        instances = [await runtime.activate("fills") for _ in range(5)]
        await runtime.drain()
        queued = [await runtime.queue(instance, "wait", 0.5) for instance in instances]
        source = await runtime.service.sandbox()

        async def three_wait() -> bool:
            return source.room.waiting == 3

        await eventually(three_wait, "three executions to wait for memory")
        assert source.room.taken > 2 * LIMIT
        assert {(await runtime.finish(one)).status for one in queued} == {"succeeded"}
        assert source.room.waiting == 0


async def test_one_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    async with node_of(tmp_path, memory=LIMIT) as runtime:
        await runtime.deploy(FILLS)
        first, second = [await runtime.activate("fills") for _ in range(2)]
        await runtime.drain()
        running = await runtime.queue(first, "wait", 2.0)
        source = await runtime.service.sandbox()

        async def runs() -> bool:
            return (await runtime.execution(running)).status == "running"

        await eventually(runs, "the first to run")
        waiting = await runtime.queue(second, "wait", 0.0)

        async def one_waits() -> bool:
            return source.room.waiting == 1

        await eventually(one_waits, "the second to wait for memory")
        await runtime.storage.cancel(waiting, runtime.clock.now())
        runtime.service.ring()

        async def nobody_waits() -> bool:
            return source.room.waiting == 0

        await eventually(nobody_waits, "the second to be let go")
        assert (await runtime.execution(waiting)).status == "cancelled"
        assert (await runtime.finish(running)).status == "succeeded"


async def test_what_is_kept_for_later_makes_room(tmp_path: Path) -> None:
    """Each version keeps a zygote of 20 MiB: ten do not fit beside an execution, and none is in the way."""
    async with node_of(tmp_path, memory=4 * LIMIT) as runtime:
        source = FILLS.replace("import time", "import time\nHELD = b'x' * (20 << 20)")
        instances = [await runtime.run(source.replace("Fills", f"Fills{number}")) for number in range(10)]
        results = await asyncio.gather(*(runtime.invoke(instance, "fill", 0.9) for instance in instances))
        assert results == [int(0.9 * LIMIT)] * 10
        sandbox = await runtime.service.sandbox()
        assert sandbox.room.taken <= 4 * LIMIT


async def test_a_limit_above_the_nodes_memory_runs_alone(tmp_path: Path) -> None:
    async with node_of(tmp_path, memory=LIMIT // 2) as runtime:
        await runtime.deploy(FILLS)
        instances = [await runtime.activate("fills") for _ in range(3)]
        await runtime.drain()
        queued = [await runtime.queue(instance, "fill", 0.5) for instance in instances]
        executions = [await runtime.finish(one) for one in queued]
        assert {one.status for one in executions} == {"succeeded"}
        assert most_at_once(executions) == 1
