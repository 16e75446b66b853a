"""Activation, upgrades and deactivation (G5, G10)."""

from __future__ import annotations

import pytest

from ropewalk.storage.interface import DoesNotApply, Fenced, QueueIsFull, UnknownInstance
from ropewalk.storage.records import LogQuery, Node, PutValue
from tests.storage.scene import NODE, SECOND, Scene

# ── Deploying ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_versions_are_numbered_and_an_unchanged_one_is_none(scene: Scene) -> None:
    first = await scene.storage.version(scene.twist)
    assert first is not None
    assert await scene.deploy("b1") == first
    second = await scene.deploy("b2")
    assert (second.number, (await scene.deploy("b1")).number) == (2, 3)
    assert await scene.storage.version(scene.twist, 2) == second
    assert await scene.storage.version(scene.twist, 4) is None
    assert [(twist.name, twist.latest) for twist in await scene.storage.twists()] == [("syncer", 3)]
    assert await scene.storage.bundle("b2") == {"twist.py": b"b2"}


async def test_an_instance_needs_a_version_a_priority_and_an_id_of_its_own(scene: Scene) -> None:
    await scene.activate()
    with pytest.raises(DoesNotApply, match="already"):
        await scene.activate()
    twist, scene.twist = scene.twist, "nope"
    with pytest.raises(DoesNotApply, match="no version 1 of twist nope"):
        await scene.activate("i2")
    scene.twist, scene.priority = twist, "nope"
    with pytest.raises(DoesNotApply, match="no priority nope"):
        await scene.activate("i2")


# ── Activation ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_runs_before_activate_has_succeeded(scene: Scene) -> None:
    await scene.activate()
    await scene.enqueue("i1", "early")
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.status) == ("activate", "activating")
    await scene.fail(claim, retry_in=10)
    assert await scene.nothing_to_claim()
    assert await scene.storage.next_wake() == scene.clock.now() + 10 * SECOND
    scene.clock.move(10)
    assert await scene.run_all() == ["activate", "early"]
    assert (await scene.instance()).status == "active"


async def test_a_dead_activation_fails_its_instance_until_it_is_retried(scene: Scene) -> None:
    await scene.activate()
    await scene.enqueue("i1", "early")
    claim = await scene.claim()
    await scene.fail(claim)
    assert (await scene.instance()).status == "failed"
    assert await scene.storage.next_wake() is None
    await scene.storage.retry(claim.execution.id, scene.clock.now())
    assert (await scene.instance()).status == "activating"
    assert await scene.run_all() == ["activate", "early"]


async def test_a_cancelled_activation_fails_its_instance(scene: Scene) -> None:
    await scene.activate()
    claim = await scene.claim()
    assert await scene.storage.cancel(claim.execution.id, scene.clock.now())
    assert (await scene.instance()).status == "failed"
    with pytest.raises(Fenced):
        await scene.succeed(claim)


# ── Upgrades ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_upgrade_runs_the_new_version_before_anything_else(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", "waiting")
    await scene.upgrade("b2")
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.version, claim.execution.version, claim.previous_version) == (
        "upgrade",
        2,
        2,
        1,
    )
    assert (await scene.instance()).version == 1
    await scene.succeed(claim)
    after = await scene.instance()
    assert (after.version, after.target_version) == (2, None)
    claim = await scene.claim()
    assert (claim.execution.version, claim.previous_version) == (2, None)
    await scene.succeed(claim)


async def test_work_waits_while_an_upgrade_is_backing_off(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2")
    await scene.enqueue("i1", "waiting")
    await scene.after("i1", "timer", 1)
    await scene.fail(await scene.claim(), retry_in=10)
    scene.clock.move(5)
    assert await scene.nothing_to_claim()
    scene.clock.move(5)
    assert await scene.run_all() == ["upgrade", "waiting", "timer"]


async def test_a_dead_upgrade_leaves_the_old_version_and_says_why(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", "waiting")
    await scene.upgrade("b2")
    claim = await scene.claim()
    await scene.fail(claim)
    after = await scene.instance()
    assert (after.version, after.target_version, after.upgrade_error) == (1, None, "ValueError: boom")
    assert await scene.run_all() == ["waiting"]
    await scene.storage.retry(claim.execution.id, scene.clock.now())
    assert (await scene.instance()).target_version == 2
    assert await scene.run_all() == ["upgrade"]
    after = await scene.instance()
    assert (after.version, after.upgrade_error) == (2, None)


async def test_a_queued_upgrade_is_replaced_by_a_newer_one(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2")
    await scene.upgrade("b3")
    claim = await scene.claim()
    assert (claim.instance.version, claim.previous_version) == (3, 1)
    await scene.succeed(claim)
    assert await scene.nothing_to_claim()
    assert (await scene.instance()).version == 3


async def test_a_running_upgrade_is_followed_by_the_newer_one(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2")
    second = await scene.claim()
    await scene.upgrade("b3")
    third = (await scene.succeed(second, next=True)).next
    assert third is not None
    assert (third.instance.version, third.previous_version) == (3, 2)
    await scene.succeed(third)
    assert (await scene.instance()).version == 3


async def test_a_failed_upgrade_is_not_retried_once_a_newer_one_waits(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2")
    second = await scene.claim()
    await scene.upgrade("b3")
    await scene.fail(second, retry_in=1)
    assert (await scene.execution(second.execution.id)).status == "cancelled"
    third = await scene.claim()
    assert third.instance.version == 3
    await scene.succeed(third)


async def test_an_instance_that_was_never_active_moves_to_the_new_version_at_once(scene: Scene) -> None:
    await scene.activate()
    await scene.upgrade("b2")
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.version, claim.previous_version) == ("activate", 2, None)
    await scene.succeed(claim)
    assert await scene.nothing_to_claim()


async def test_a_retried_activation_runs_the_version_deployed_meanwhile(scene: Scene) -> None:
    await scene.activate()
    claim = await scene.claim()
    await scene.upgrade("b2")
    await scene.fail(claim, retry_in=1)
    scene.clock.move(1)
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.version) == ("activate", 2)
    await scene.succeed(claim)
    assert await scene.nothing_to_claim()


async def test_a_running_activation_is_followed_by_the_upgrade(scene: Scene) -> None:
    await scene.activate()
    claim = await scene.claim()
    await scene.upgrade("b2")
    await scene.succeed(claim)
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.version, claim.previous_version) == ("upgrade", 2, 1)
    await scene.succeed(claim)


# ── Deactivation ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_deactivation_cancels_what_waits_and_runs_deactivate_last(scene: Scene) -> None:
    await scene.active()
    ready, later = await scene.enqueue("i1", "ready"), await scene.after("i1", "later", 60)
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    for id_ in (ready, later):
        cancelled = await scene.execution(id_)
        assert cancelled.error is not None
        assert (cancelled.status, cancelled.error.type) == ("cancelled", "cancelled")
        assert "its instance was deactivated" in cancelled.error.message
    with pytest.raises(UnknownInstance):
        await scene.enqueue("i1")
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.status) == ("deactivate", "deactivating")
    await scene.succeed(claim)
    assert await scene.storage.instance("i1") is None
    assert await scene.storage.instances() == []
    with pytest.raises(UnknownInstance):
        await scene.enqueue("i1")


async def test_what_runs_while_its_instance_is_deactivated_may_settle_but_queue_nothing(scene: Scene) -> None:
    await scene.active()
    running = await scene.enqueue("i1", "running")
    claim = await scene.claim()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    assert await scene.storage.leases(NODE) == {"i1": (claim.epoch, "deactivating")}
    last = (await scene.succeed(claim, scene.task("dropped"), PutValue(ns="", key="a", value=b"1"), next=True)).next
    assert last is not None
    assert last.execution.trigger == "deactivate"
    assert (await scene.execution(running)).status == "succeeded"
    assert await scene.storage.read_keys("i1", "", "", scene.clock.now()) == ["a"]
    (line,) = await scene.storage.logs(LogQuery(execution=running))
    assert line.line.message.endswith("since its instance is being deactivated: 1")
    await scene.succeed(last)


@pytest.mark.parametrize("end", ["failed", "lost", "cancelled"])
async def test_what_runs_while_its_instance_is_deactivated_is_not_tried_again(scene: Scene, end: str) -> None:
    await scene.active()
    running = await scene.enqueue("i1", "running")
    claim = await scene.claim()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    if end == "failed":
        await scene.fail(claim, retry_in=5, ordered=True)
    elif end == "lost":
        await scene.storage.release(NODE, scene.clock.now())
    else:
        assert await scene.storage.cancel(running, scene.clock.now())
    assert (await scene.execution(running)).status == "cancelled"
    assert await scene.run_all_as("node-2") == ["deactivate"]


async def test_beginning_deactivation_again_changes_nothing(scene: Scene) -> None:
    await scene.active()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    claim = await scene.claim()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    await scene.succeed(claim)
    with pytest.raises(UnknownInstance):
        await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))


async def test_a_dead_deactivation_ends_the_instance_too(scene: Scene) -> None:
    await scene.active()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    await scene.fail(await scene.claim(), retry_in=1)
    scene.clock.move(1)
    await scene.fail(await scene.claim())
    assert await scene.storage.instance("i1") is None


async def test_what_attempts_of_a_deactivation_took_is_counted_but_for_lost_ones(scene: Scene) -> None:
    await scene.active()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    claim = await scene.claim()
    assert claim.spent == 0
    scene.clock.move(20)
    await scene.fail(claim, retry_in=1)
    scene.clock.move(3600)
    claim = await scene.claim()
    assert claim.spent == 20 * SECOND
    scene.clock.move(3600)
    await scene.storage.release(NODE, scene.clock.now())
    await scene.storage.register(Node(id=NODE, boot="boot", expires=2000.0, started_at=scene.clock.now()))
    claim = await scene.claim()
    assert claim.spent == 20 * SECOND
    await scene.succeed(claim)


async def test_a_deactivation_cannot_be_cancelled(scene: Scene) -> None:
    await scene.active()
    deactivate = scene.lifecycle("i1", "deactivate")
    await scene.storage.begin_deactivation(deactivate)
    with pytest.raises(DoesNotApply, match="cannot be taken back"):
        await scene.storage.cancel(deactivate.id, scene.clock.now())
    await scene.run_all()


async def test_what_a_deactivated_instance_leaves_is_erased_in_small_batches(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1")
    effects = [PutValue(ns="", key=f"k{number}", value=b"1") for number in range(25)]
    await scene.succeed(await scene.claim(), *effects)
    done = await scene.enqueue("i1")
    await scene.succeed(await scene.claim())
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    await scene.run_all()
    assert [await scene.storage.erase(10) for _ in range(4)] == [10, 10, 5, 0]
    assert await scene.storage.read_keys("i1", "", "", scene.clock.now()) == []
    assert (await scene.execution(done)).status == "succeeded"
    with pytest.raises(DoesNotApply):
        await scene.storage.retry(done, scene.clock.now())


# ── Limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_full_queue_takes_no_more_events_but_lifecycle_ones(scene: Scene) -> None:
    await scene.active()
    for _ in range(500):
        await scene.after("i1", "later", 60)
    with pytest.raises(QueueIsFull, match="500 pending executions and may have 500"):
        await scene.enqueue("i1")
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    assert await scene.run_all() == ["deactivate"]


async def test_a_queue_full_of_bytes_takes_no_more_events(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", event=b"x" * 90_000)
    with pytest.raises(QueueIsFull, match="may have 100,000"):
        await scene.enqueue("i1", event=b"x" * 20_000)
    await scene.enqueue("i1", event=b"x" * 1_000)


async def test_an_unknown_instance_takes_no_events(scene: Scene) -> None:
    with pytest.raises(UnknownInstance):
        await scene.enqueue("nope")
