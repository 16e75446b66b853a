"""What is over is forgotten some time later: executions, with what tells of them."""

from __future__ import annotations

from msgspec.structs import replace

from ropewalk.storage.records import ExecutionQuery, LogLine, LogQuery, Verdict
from tests.storage.scene import Scene


async def executions(scene: Scene) -> list[str]:
    """Return the ids of all executions, newest first."""
    return [execution.id for execution in await scene.storage.executions(ExecutionQuery())]


async def test_executions_are_forgotten_in_small_batches_oldest_first(scene: Scene) -> None:
    await scene.active()
    for _ in range(5):
        scene.clock.move(1)
        await scene.enqueue("i1")
        await scene.run_all()
    known = await executions(scene)
    before = (await scene.execution(known[1])).finished_at
    assert before is not None
    assert [await scene.storage.forget(2, before) for _ in range(3)] == [2, 2, 0]
    assert await executions(scene) == known[:2]


async def test_what_waits_or_runs_is_never_forgotten(scene: Scene) -> None:
    await scene.active()
    waits, runs = await scene.after("i1", "later", 10**6), await scene.enqueue("i1")
    await scene.claim()
    scene.clock.move(10**5)
    assert await scene.storage.forget(10, scene.clock.at) == 1
    assert [(await scene.execution(id_)).status for id_ in (waits, runs)] == ["queued", "running"]
    assert await scene.problems() == []


async def test_what_tells_of_a_forgotten_execution_goes_with_it(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1")
    claim = await scene.claim()
    line = LogLine(time=scene.clock.at, level=20, message="once upon a time", attempt=1)
    await scene.storage.settle(replace(scene.settlement(claim, Verdict(status="dead")), logs=[line]))
    assert len(await scene.storage.logs(LogQuery(instance="i1"))) == 1
    scene.clock.move(1)
    await scene.storage.forget(10, scene.clock.at)
    assert await scene.storage.logs(LogQuery(instance="i1")) == []
    assert await executions(scene) == []


async def test_a_failed_activation_is_kept_as_long_as_its_instance(scene: Scene) -> None:
    await scene.activate()
    await scene.fail(await scene.claim())
    scene.clock.move(1)
    assert await scene.storage.forget(10, scene.clock.at) == 0
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    await scene.run_all()
    while await scene.storage.erase(10):
        pass
    scene.clock.move(1)
    assert await scene.storage.forget(10, scene.clock.at) == 2
