"""A database with instances, and master keys as an operator has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ropewalk.storage.sqlite import open_sqlite
from ropewalk.vault.masters import Masters
from tests.storage.scene import Scene, StillClock


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A database with two active instances, `i1` and `i2`."""
    clock = StillClock()
    storage = await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=True)
    scene = Scene(storage, clock)
    await scene.prepare()
    await scene.active("i1")
    await scene.active("i2")
    yield scene
    await storage.close()


@pytest.fixture
def masters(tmp_path: Path) -> Masters:
    """The keys of the file beside the database."""
    return Masters((), tmp_path / "ropewalk.db-key")
