"""Order end to end (G5): real executions that write down when they run, against the model of the storage tests."""

from __future__ import annotations

import random

import pytest

from ropewalk.storage.records import Rank
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually
from tests.storage.ordering import Model

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECOND = 1_000_000
FAR = 1000.0
"""Seconds between the times of the test: far more than it takes."""

SOURCE = """
from ropewalk import Retry, RetryPolicy, Twist

class Diary(Twist):
    retry = RetryPolicy(ordered=ORDERED)

    async def plan(self, tasks: list[tuple[str, float, str | None, bool, float | None]]) -> None:
        for name, delay, key, coalesce, fails_for in tasks:
            await self.run_task(self.write, name, fails_for, delay=delay, key=key, coalesce=coalesce)

    async def write(self, name: str, fails_for: float | None) -> None:
        if fails_for is not None and self.execution.attempt == 1:
            raise Retry(after=fails_for)
        await self.set("diary", [*await self.get("diary", list[str], default=[]), name])
"""

Task = tuple[str, float, str | None, bool, float | None]


def draw(chance: random.Random, number: int) -> Task:
    """Return a task: its name, when it is due, its key, whether it joins who holds the key, and how long it backs off once.

    No back-off ends when another task is due: which comes first is never a matter of microseconds.
    """
    key = chance.choice([None, None, None, "a", "b"])
    fails_for = None if key or chance.random() < 0.7 else 200.0 + 7 * number + chance.choice([0, FAR])
    return f"t{number}", FAR * chance.choice([1, 1, 2, 3]), key, chance.random() < 0.5, fails_for


def told(tasks: list[Task], invoked: list[str], *, ordered: bool) -> list[str]:
    """Return the names in the order in which the model runs them; those who are waited for come when the first tasks are due."""
    model = Model(status="active")
    for place, (name, delay, key, coalesce, _) in enumerate(tasks):
        answered_by = model.store(name, place, due=place + round(delay * SECOND), key=key, coalesce=coalesce)
        for waiting in model.waiting:
            if waiting.name == answered_by:
                waiting.name = name  # who holds a key does what was asked last
    now = round((FAR + 100) * SECOND)
    for name in invoked:
        model.store(name, now, rank=Rank.WAITED_FOR)
    back_off = {name: fails_for for name, *_, fails_for in tasks if fails_for is not None}
    ran: list[str] = []
    while model.waiting:
        event = model.take(now)
        if event is None:
            now = max(now, min(model.times if model.held is None else [model.held.due or 0]))
        elif (fails_for := back_off.pop(event.name, None)) is not None:
            model.failed(now, now + round(fails_for * SECOND), ordered=ordered)
        else:
            ran.append(event.name)
            model.over(now, succeeded=True)
    return ran


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(2))
async def test_executions_run_in_the_order_of_the_model(runtime: Runtime, seed: int, ordered: bool) -> None:
    chance = random.Random(seed)
    tasks = [draw(chance, number) for number in range(30)]
    instance = await runtime.run(SOURCE.replace("ORDERED", str(ordered)))
    await runtime.invoke(instance, "plan", tasks)
    await runtime.stop()
    runtime.clock.step(seconds=FAR + 100)
    for name in ("i0", "i1"):
        await runtime.queue(instance, "write", name, None)
    await work_off(runtime)
    assert await runtime.get(instance, "diary") == told(tasks, ["i0", "i1"], ordered=ordered)


async def work_off(runtime: Runtime) -> None:
    """Run everything, the clock moved to the next time whenever nothing is left to do before it."""
    await runtime.start()

    async def is_done_for_now() -> bool:
        load = await runtime.storage.workload()
        return not load.running and (load.next_wake is None or load.next_wake > runtime.clock.now())

    while True:
        await eventually(is_done_for_now, "what is ready to have run")
        wake = await runtime.storage.next_wake()
        if wake is None:
            return
        runtime.clock.step(seconds=max(0.0, (wake - runtime.clock.now()) / SECOND))
        runtime.service.ring()
