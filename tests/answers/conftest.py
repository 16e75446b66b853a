"""Attempts on a real database."""

from __future__ import annotations

import pytest

from tests.answers.authors import Author
from tests.storage.conftest import clock, scene, storage
from tests.storage.scene import Scene

__all__ = ["author", "clock", "other", "scene", "storage"]


@pytest.fixture
async def author(scene: Scene) -> Author:
    """An attempt of the twist's instance in the root priority."""
    await scene.active("i1")
    return await Author.begin(scene, "i1")


@pytest.fixture
async def other(scene: Scene) -> Author:
    """An attempt of another twist's instance in the same priority."""
    mine, scene.twist = scene.twist, (await scene.deploy("b2", "other")).twist
    await scene.active("i9")
    scene.twist = mine
    return await Author.begin(scene, "i9")
