"""What version zygotes and waiting processes do that nobody has asked them to: it is noticed on the sandbox's rounds, and ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ropewalk.sandbox import processes, source, zygotes
from ropewalk.sandbox.interface import Image, Limits
from ropewalk.sandbox.source import Pool
from ropewalk.sandbox.zygotes import RootZygote
from tests.harness.processes import children, lives, living
from tests.harness.waiting import eventually
from tests.sandbox.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Done by the zygote when it has forked: by then its import has been looked at.
AFTER_A_FORK = """
import time
from ropewalk.guest import kernel
clone = kernel.clone
def clone_and_more(*arguments):
    pid = clone(*arguments)
    if pid != 0:
        more()
    return pid
kernel.clone = clone_and_more

def more():
"""

FORKS_TWICE = """
import os, time
from ropewalk.guest import kernel
clone = kernel.clone
def twice(*arguments):
    if clone(*arguments) == 0:
        os.closerange(3, 5)
        time.sleep(60)
    return clone(*arguments)
kernel.clone = twice
"""

BUSY_WHILE_WAITING = """
from ropewalk.guest import channel
wait = channel.Channel.wait_for_start
def compute(self):
    while self._fd == 3: pass
    return wait(self)
channel.Channel.wait_for_start = compute
"""

GREEDY_WHILE_WAITING = BUSY_WHILE_WAITING.replace(
    "while self._fd == 3: pass", "if self._fd == 3: self.requests = [bytes(1 << 20) for _ in range(50)]"
)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the rounds often, and their limits low."""
    monkeypatch.setattr(source, "ROUNDS", 0.1)
    monkeypatch.setattr(processes, "WAITING_CPU", 0.2)
    monkeypatch.setattr(zygotes, "UNASKED_CPU", 0.02)


def root_of(bench: Bench) -> RootZygote:
    """Return the bench's root zygote."""
    root = bench.source._root
    assert root is not None
    return root


async def zygote_of(bench: Bench, image: Image) -> tuple[Pool, int]:
    """Have an image imported; returns its pool and its zygote."""
    await bench.source.describe(image)
    if image not in bench.source._pools:
        await bench.source._ready_pool(image)
    pool = bench.source._pools[image]
    return pool, pool.zygote._pid


@pytest.mark.parametrize(
    "more", ["    while True: pass", "    global held; held = bytes(1 << 20) * 60; time.sleep(60)"], ids=["cpu", "memory"]
)
async def test_a_zygote_that_does_what_nobody_asked_is_ended(own_bench: Callable[[], Bench], more: str) -> None:
    async with own_bench().running() as bench:
        image = bench.twist("return 1", AFTER_A_FORK + more, limits=Limits(memory=32 << 20))
        _, zygote = await zygote_of(bench, image)
        await bench.source.take(image)
        await eventually(lambda: is_gone(zygote), "the zygote to be ended")


@pytest.mark.parametrize("before", [BUSY_WHILE_WAITING, GREEDY_WHILE_WAITING], ids=["cpu", "memory"])
async def test_a_process_that_does_more_than_wait_is_ended(own_bench: Callable[[], Bench], before: str) -> None:
    async with own_bench().running() as bench:
        pool, _ = await zygote_of(bench, bench.twist("return 1", before, limits=Limits(memory=32 << 20)))
        await bench.source.take(pool.image)

        async def first() -> int:
            return pool.waiting[0].pid if pool.waiting else 0

        waiting = await eventually(first, "a process to wait")
        await eventually(lambda: is_gone(waiting), "the process to be ended")


async def test_a_process_that_a_zygote_makes_for_itself_is_ended(own_bench: Callable[[], Bench]) -> None:
    async with own_bench().running() as bench:
        image = bench.twist("return 1", FORKS_TWICE)
        root = root_of(bench)

        async def strays() -> list[int]:
            return [pid for pid in living(children(root.pid)) if pid not in root.attempts | root.hosts]

        async def none() -> bool:
            return not await strays()

        assert await bench.run(image) == 1
        await eventually(strays, "the process to be there")
        await eventually(none, "the process to be ended")
        assert await bench.run(image) == 1


async def test_work_that_was_asked_for_is_not_disturbed(own_bench: Callable[[], Bench]) -> None:
    async with own_bench().running() as bench:
        image = bench.twist("import time; time.sleep(args[0]); return 1")
        attempt = await bench.begin(image, "probe", 0.7)
        _, zygote = await zygote_of(bench, image)
        for _ in range(20):
            assert await bench.run(image, 0.02) == 1
        assert await attempt.result() == 1
        assert lives(zygote)


async def is_gone(pid: int) -> bool:
    """Whether a process lives no more."""
    return not lives(pid)
