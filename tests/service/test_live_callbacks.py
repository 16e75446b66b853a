"""Which methods live callbacks and tasks name that a new version does not have."""

from __future__ import annotations

from pathlib import Path

from ropewalk.service.live_callbacks import breakages
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import PutCallback, Version
from ropewalk.wire.messages import Target
from tests.service.seeding import CLOCK, activated, deployed, manifest, opened, queued, settled


async def version(storage: Storage, twist: str) -> Version:
    found = await storage.version(twist)
    assert found is not None
    return found


async def test_a_pending_task_of_a_method_that_goes(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page", "other")
        await activated(storage, twist, "one")
        await storage.enqueue(queued("one", "later", "page", run_at=CLOCK.now() + 10**9))
        latest = await version(storage, twist)
        assert await breakages(storage, latest, manifest("page")) == []
        assert await breakages(storage, latest, manifest("other")) == ["page(): instance one"]


async def test_a_callback_of_a_method_that_goes(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page", "other")
        await activated(storage, twist, "one")
        await storage.enqueue(queued("one", "now", "other"))
        await settled(
            storage, "one", effects=[PutCallback(ns="", token="cb_x", target=Target(ns="", method="page"), at=CLOCK.now())]
        )
        assert await breakages(storage, await version(storage, twist), manifest("other")) == ["page(): instance one"]


async def test_what_nothing_names_may_go(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page", "other")
        await activated(storage, twist, "one")
        assert await breakages(storage, await version(storage, twist), manifest("other")) == []
