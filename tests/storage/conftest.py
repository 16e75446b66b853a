"""The backends that the storage tests run on. A test that takes `scene` or `storage` runs on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ropewalk.storage.interface import Storage
from ropewalk.storage.records import StorageLimits
from ropewalk.storage.sqlite import open_sqlite
from tests.storage.scene import Scene, StillClock

LIMITS = StorageLimits(
    pending=500, pending_bytes=100_000, store_bytes=50_000, callbacks=100, record_bytes=300, delivery_bytes=85_000
)


@pytest.fixture
def clock() -> StillClock:
    """A clock that stands still."""
    return StillClock()


@pytest.fixture(params=["sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path, clock: StillClock) -> AsyncIterator[Storage]:
    """An empty database of each backend."""
    assert request.param == "sqlite"
    opened = await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=True, limits=LIMITS)
    yield opened
    await opened.close()


@pytest.fixture
async def scene(storage: Storage, clock: StillClock) -> AsyncIterator[Scene]:
    """A database with a twist; whatever a test does to it, the audit finds nothing wrong with it afterwards."""
    scene = Scene(storage, clock)
    await scene.prepare()
    yield scene
    assert await scene.problems() == []
