"""A database with instances, and master keys as an operator has them; an instance with secrets, and the servers that it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.storage.sqlite import open_sqlite
from ropewalk.vault.masters import Masters
from tests.egress.origin import Origin, serving
from tests.harness.runtime import Runtime
from tests.secrets.kept import KEEPER, PIN, TOKEN, Kept
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


@pytest_asyncio.fixture(loop_scope="session")
async def origin() -> AsyncIterator[Origin]:
    """The server that secrets are for."""
    async with serving() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def other() -> AsyncIterator[Origin]:
    """Another one."""
    async with serving() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def kept(opened: Callable[..., AbstractAsyncContextManager[Runtime]], origin: Origin, other: Origin) -> AsyncIterator[Kept]:
    """An instance of the twist that keeps secrets."""
    async with opened(allow_private=(f"{origin.url}/*", f"{other.url}/*")) as runtime:
        urls = {"base_url": origin.url, "other_url": other.url}
        yield Kept(runtime, await runtime.run(KEEPER, token=TOKEN, pin=PIN, key=TOKEN[::-1], **urls), origin, other)
