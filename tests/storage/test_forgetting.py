"""Files of old versions go some time after the last instance has left them; the newest stay, and whatever somebody still needs."""

from __future__ import annotations

import pytest

from ropewalk.storage.interface import DoesNotApply, StorageUnusable
from tests.storage.scene import SECOND, Scene

DAY = 86_400
KEPT = 30 * DAY


async def forget(scene: Scene, keep: int = 1) -> int:
    """Look once, and return how many versions lost their files."""
    now, removed = scene.clock.now(), 0
    while await scene.storage.forget_bundles(keep, now - KEPT * SECOND, now):
        removed += 1
    return removed


async def removed(scene: Scene) -> list[int]:
    """Return the versions that have no files any more."""
    return [one.number for one in await scene.storage.versions(scene.twist) if one.removed_at is not None]


async def test_files_go_a_month_after_the_last_instance_has_left_them(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2")
    scene.clock.move(KEPT + 1)
    assert await forget(scene) == 0  # the instance is in version 1 until its upgrade has run
    assert await scene.run_all() == ["upgrade"]
    assert await forget(scene) == 0
    scene.clock.move(KEPT - DAY)
    assert await forget(scene) == 0
    scene.clock.move(2 * DAY)
    assert await forget(scene) == 1
    assert (await scene.storage.bundles(), await removed(scene)) == ({"b2"}, [1])
    assert await forget(scene) == 0
    with pytest.raises(StorageUnusable, match="lacks bundle b1"):
        await scene.storage.bundle("b1")


async def test_the_newest_stay_whether_anybody_is_in_them_or_not(scene: Scene) -> None:
    for bundle in ("b2", "b3", "b4"):
        await scene.deploy(bundle)
    await forget(scene, keep=3)
    scene.clock.move(KEPT + 1)
    assert await forget(scene, keep=3) == 1
    assert await removed(scene) == [1]


async def test_what_is_among_the_newest_again_is_counted_anew(scene: Scene) -> None:
    await scene.deploy("b2")
    await forget(scene, keep=1)
    scene.clock.move(KEPT + 1)
    assert await forget(scene, keep=2) == 0
    assert await forget(scene, keep=1) == 0
    assert await removed(scene) == []


async def test_a_version_that_an_instance_waits_for_stays(scene: Scene) -> None:
    await scene.active()
    await scene.upgrade("b2", waits=True)
    await scene.deploy("b3")
    for _ in range(2):
        await forget(scene)
        scene.clock.move(KEPT + 1)
    assert await removed(scene) == []


async def test_code_that_came_back_as_a_new_version_stays(scene: Scene) -> None:
    await scene.deploy("b2")
    await scene.deploy("b1")
    await forget(scene)
    scene.clock.move(KEPT + 1)
    assert await forget(scene) == 2
    assert await scene.storage.bundles() == {"b1"}
    assert await scene.storage.bundle("b1") == {"twist.py": b"b1"}


async def test_packages_go_with_the_last_version_that_stands_on_them(scene: Scene) -> None:
    for package in ("old", "both"):
        await scene.storage.keep_bundle(package, {"package.py": b"1"})
    await scene.deploy("b2", packages=("old", "both"))
    await scene.deploy("b3", packages=("both",))
    await forget(scene)
    scene.clock.move(KEPT + 1)
    assert await forget(scene) == 2
    assert await scene.storage.bundles() == {"b3", "both"}


async def test_a_deploy_on_packages_that_were_removed_meanwhile_is_refused(scene: Scene) -> None:
    with pytest.raises(DoesNotApply, match="deploy again"):
        await scene.deploy("b2", packages=("gone",))
    assert [one.number for one in await scene.storage.versions(scene.twist)] == [1]
