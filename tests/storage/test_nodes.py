"""Nodes, their leases, and what people do to executions: cancel and retry."""

from __future__ import annotations

import pytest

from ropewalk.storage.interface import DoesNotApply, Fenced
from ropewalk.storage.records import Node
from tests.storage.scene import NODE, START, Scene


async def test_a_heartbeat_tells_a_node_that_was_declared_dead(scene: Scene) -> None:
    assert scene.storage.heartbeat(NODE, 3000.0)
    assert await scene.storage.nodes() == [Node(id=NODE, boot="boot", expires=3000.0, started_at=START)]
    await scene.storage.release(NODE, scene.clock.now())
    assert not scene.storage.heartbeat(NODE, 4000.0)
    assert await scene.storage.nodes() == []


async def test_what_a_dead_node_ran_is_ready_again_first_in_line(scene: Scene) -> None:
    await scene.active()
    lost = await scene.enqueue("i1", "lost")
    await scene.enqueue("i1", "next")
    claim = await scene.claim()
    assert await scene.storage.release(NODE, scene.clock.now()) == 1
    with pytest.raises(Fenced):
        await scene.succeed(claim)
    kept = await scene.execution(lost)
    assert (kept.status, kept.lost, kept.tries) == ("queued", 1, 0)
    (attempt,) = await scene.storage.attempts(lost)
    assert (attempt.status, attempt.error and attempt.error.type) == ("lost", "node_lost")
    assert await scene.run_all_as("node-2") == ["lost", "next"]


async def test_one_that_was_lost_comes_before_those_that_return(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", "failing")
    await scene.enqueue("i1", "lost")
    await scene.fail(await scene.claim(), retry_in=1)
    await scene.claim()
    scene.clock.move(2)
    await scene.enqueue("i1", "later")
    await scene.storage.release(NODE, scene.clock.now())
    assert await scene.run_all_as("node-2") == ["lost", "failing", "later"]


async def test_one_that_was_lost_twenty_times_is_dead(scene: Scene) -> None:
    await scene.active()
    killer = await scene.enqueue("i1", "killer")
    await scene.enqueue("i1", "other")
    for _ in range(20):
        await scene.claim()
        await scene.storage.release(NODE, scene.clock.now())
        await scene.storage.register(Node(id=NODE, boot="boot", expires=1.0, started_at=START))
    kept = await scene.execution(killer)
    assert (kept.status, kept.error and kept.error.type) == ("dead", "node_lost")
    assert len(await scene.storage.attempts(killer)) == 20
    assert await scene.run_all() == ["other"]


async def test_a_lost_activation_runs_again(scene: Scene) -> None:
    await scene.activate()
    await scene.claim()
    await scene.storage.release(NODE, scene.clock.now())
    assert await scene.run_all_as("node-2") == ["activate"]


async def test_releasing_one_node_leaves_the_leases_of_others(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    await scene.enqueue("i1")
    await scene.enqueue("i2")
    mine = await scene.claim("i1")
    await scene.storage.register(Node(id="node-2", boot="boot", expires=1.0, started_at=START))
    await scene.storage.claim("node-2", 1, only="i2")
    assert await scene.storage.release("node-2", scene.clock.now()) == 1
    await scene.succeed(mine)


async def test_a_running_execution_is_cancelled_and_its_instance_goes_on(scene: Scene) -> None:
    await scene.active()
    running = await scene.enqueue("i1", "running")
    await scene.enqueue("i1", "next")
    claim = await scene.claim()
    assert await scene.storage.cancel(running, scene.clock.now())
    with pytest.raises(Fenced):
        await scene.succeed(claim)
    assert (await scene.execution(running)).status == "cancelled"
    (attempt,) = await scene.storage.attempts(running)
    assert attempt.status == "cancelled"
    assert await scene.run_all() == ["next"]


async def test_what_is_over_is_not_cancelled(scene: Scene) -> None:
    await scene.active()
    id_ = await scene.enqueue("i1")
    assert await scene.storage.cancel(id_, scene.clock.now())
    assert not await scene.storage.cancel(id_, scene.clock.now())
    with pytest.raises(DoesNotApply):
        await scene.storage.cancel("nope", scene.clock.now())


async def test_a_dead_execution_is_retried_with_attempts_counted_anew(scene: Scene) -> None:
    await scene.active()
    id_ = await scene.enqueue("i1")
    await scene.fail(await scene.claim())
    await scene.storage.retry(id_, scene.clock.now())
    kept = await scene.execution(id_)
    assert (kept.status, kept.tries, kept.attempt, kept.finished_at) == ("queued", 0, 1, None)
    assert (await scene.instance()).pending == 1
    claim = await scene.claim()
    assert claim.execution.attempt == 2
    await scene.succeed(claim)


async def test_one_in_back_off_is_retried_at_once(scene: Scene) -> None:
    await scene.active()
    id_ = await scene.enqueue("i1")
    await scene.fail(await scene.claim(), retry_in=100, ordered=True)
    await scene.storage.retry(id_, scene.clock.now())
    assert await scene.run_all() == ["go"]


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "unknown"])
async def test_others_cannot_be_retried(scene: Scene, state: str) -> None:
    await scene.active()
    id_ = await scene.enqueue("i1")
    if state != "queued":
        claim = await scene.claim()
        if state == "succeeded":
            await scene.succeed(claim)
    with pytest.raises(DoesNotApply):
        await scene.storage.retry("nope" if state == "unknown" else id_, scene.clock.now())
