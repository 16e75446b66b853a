"""Versions offered to instances, and the grants that some wait for (G8)."""

from __future__ import annotations

import pytest

from ropewalk.storage.interface import DoesNotApply, UnknownInstance
from ropewalk.storage.records import Offer, Rank
from tests.storage.scene import Scene


async def test_a_version_is_offered_to_an_instance_once(scene: Scene) -> None:
    await scene.active()
    await scene.deploy("b2")
    assert [(one.instance, one.version, one.latest) for one in await scene.storage.behind(10)] == [("i1", 1, 2)]
    assert len(await scene.offer()) == 1
    assert await scene.storage.behind(10) == []
    assert await scene.run_all() == ["upgrade"]


async def test_an_offer_that_two_make_is_one(scene: Scene) -> None:
    await scene.active()
    await scene.deploy("b2")
    offers = [
        Offer(instance="i1", version=1, granted=0, execution=scene.lifecycle("i1", "upgrade"), grants=False) for _ in range(2)
    ]
    queued = [await scene.storage.offer(scene.twist, 2, [offer]) for offer in offers]
    assert [len(executions) for executions in queued] == [1, 0]
    assert await scene.run_all() == ["upgrade"]


async def test_upgrades_are_known_until_they_are_over(scene: Scene) -> None:
    for instance in ("i1", "i2"):
        await scene.active(instance)
    await scene.deploy("b2")
    queued = await scene.offer()
    claim = await scene.claim("i2")
    assert set(await scene.storage.upgrades(scene.twist, 2)) == set(queued)
    await scene.succeed(claim)
    assert len(await scene.storage.upgrades(scene.twist, 2)) == 1
    assert await scene.storage.upgrades(scene.twist, 3) == []


async def test_an_instance_activated_in_an_older_version_is_behind(scene: Scene) -> None:
    await scene.deploy("b2")
    await scene.activate()
    await scene.offer()
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.version) == ("activate", 2)
    await scene.succeed(claim)


async def test_who_leaves_is_not_behind(scene: Scene) -> None:
    await scene.active()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    await scene.deploy("b2")
    assert await scene.storage.behind(10) == []
    assert await scene.run_all() == ["deactivate"]
    assert await scene.storage.behind(10) == []


async def test_an_offer_of_a_version_that_is_the_latest_no_more_is_none(scene: Scene) -> None:
    await scene.active()
    await scene.deploy("b2")
    await scene.deploy("b3")
    offer = Offer(instance="i1", version=1, granted=0, execution=scene.lifecycle("i1", "upgrade"), grants=True)
    assert await scene.storage.offer(scene.twist, 2, [offer]) == []
    assert [one.latest for one in await scene.storage.behind(10)] == [3]
    await scene.offer()


async def test_an_offer_to_an_instance_that_has_moved_is_made_again(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2")
    claim = await scene.claim()
    await scene.deploy("b3")
    (seen,) = await scene.storage.behind(10)
    await scene.succeed(claim)
    stale = Offer(
        instance="i1", version=seen.version, granted=seen.granted, execution=scene.lifecycle("i1", "upgrade"), grants=False
    )
    assert await scene.storage.offer(scene.twist, 3, [stale]) == []
    assert [one.version for one in await scene.storage.behind(10)] == [2]
    await scene.offer()
    assert await scene.run_all() == ["upgrade"]


async def test_what_waits_for_a_grant_goes_on_in_its_version(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2", waits=True)
    await scene.enqueue("i1", "work")
    claim = await scene.claim()
    assert (claim.execution.target.method, claim.instance.version) == ("work", 1)
    await scene.succeed(claim)
    before = await scene.instance()
    assert (before.status, before.awaiting, before.target_version) == ("active", 2, None)
    await scene.storage.grant(2, scene.lifecycle("i1", "upgrade"))
    assert await scene.run_all() == ["upgrade"]
    after = await scene.instance()
    assert (after.version, after.granted, after.awaiting) == (2, 2, None)


async def test_only_what_is_waited_for_can_be_granted(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2", waits=True)
    await scene.upgrade("b3", waits=True)
    with pytest.raises(DoesNotApply, match="does not wait for a grant of version 2"):
        await scene.storage.grant(2, scene.lifecycle("i1", "upgrade"))
    await scene.storage.grant(3, scene.lifecycle("i1", "upgrade"))
    with pytest.raises(DoesNotApply):
        await scene.storage.grant(3, scene.lifecycle("i1", "upgrade"))
    with pytest.raises(UnknownInstance):
        await scene.storage.grant(3, scene.lifecycle("nope", "upgrade"))
    assert await scene.run_all() == ["upgrade"]


async def test_a_version_that_asks_for_nothing_more_ends_the_wait(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2", waits=True)
    await scene.upgrade("b3")
    assert (await scene.instance()).awaiting is None
    claim = await scene.claim()
    assert (claim.instance.version, claim.previous_version) == (3, 1)
    await scene.succeed(claim)


async def test_an_upgrade_goes_on_while_a_newer_version_waits_for_its_grant(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2")
    await scene.upgrade("b3", waits=True)
    assert await scene.run_all() == ["upgrade"]
    after = await scene.instance()
    assert (after.version, after.awaiting) == (2, 3)


async def test_a_grant_outlives_an_upgrade_that_failed(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2", waits=True)
    await scene.storage.grant(2, scene.lifecycle("i1", "upgrade"))
    await scene.fail(await scene.claim())
    after = await scene.instance()
    assert (after.version, after.granted, after.upgrade_error) == (1, 2, "ValueError: boom")


async def test_a_failed_activation_moves_to_the_new_version_and_is_retried_in_it(scene: Scene) -> None:
    await scene.activate()
    failed = await scene.claim()
    await scene.fail(failed)
    await scene.upgrade("b2")
    assert (await scene.instance()).version == 2
    await scene.storage.retry(failed.execution.id, scene.clock.now())
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.instance.version) == ("activate", 2)
    await scene.succeed(claim)


async def test_deactivation_ends_the_wait_for_a_grant(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2", waits=True)
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    with pytest.raises(DoesNotApply):
        await scene.storage.grant(2, scene.lifecycle("i1", "upgrade"))
    assert await scene.run_all() == ["deactivate"]


async def test_lifecycle_methods_are_tried_to_their_end_one_after_another(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", "options_changed", rank=Rank.BARRIER, trigger="options")
    await scene.fail(await scene.claim(), retry_in=60, ordered=True)
    await scene.enqueue("i1", "options_changed", rank=Rank.BARRIER, trigger="options")
    await scene.upgrade("b2")
    assert await scene.nothing_to_claim()
    scene.clock.move(60)
    for trigger in ("options", "options"):
        claim = await scene.claim()
        assert claim.execution.trigger == trigger
        await scene.succeed(claim)
    upgrade = await scene.claim()
    await scene.enqueue("i1", "options_changed", rank=Rank.BARRIER, trigger="options")
    await scene.fail(upgrade, retry_in=60)
    assert await scene.nothing_to_claim()
    scene.clock.move(60)
    assert await scene.run_all() == ["upgrade", "options_changed"]
    assert await scene.problems() == []


async def test_what_is_held_waits_until_the_options_are_told(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", "held")
    await scene.fail(await scene.claim(), retry_in=10, ordered=True)
    await scene.enqueue("i1", "options_changed", rank=Rank.BARRIER, trigger="options")
    await scene.fail(await scene.claim(), retry_in=60, ordered=True)
    scene.clock.move(30)
    assert await scene.nothing_to_claim()
    scene.clock.move(30)
    assert await scene.run_all() == ["options_changed", "held"]
