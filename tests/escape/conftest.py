"""The stages on which attacks are made, shared by all attacks."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from ropewalk.sandbox.facts import HostFacts, gather_facts
from tests.escape.harness import BAITS, Stages


@pytest.fixture(scope="package")
def baits() -> Iterator[None]:
    """The folder for baits that are files."""
    BAITS.mkdir()
    BAITS.chmod(0o777)
    yield
    shutil.rmtree(BAITS)


@contextlib.asynccontextmanager
async def _open(folder: Path, facts: HostFacts) -> AsyncIterator[Stages]:
    folder.chmod(0o755)
    stages = Stages(folder, facts)
    try:
        yield stages
    finally:
        await stages.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def stages(tmp_path_factory: pytest.TempPathFactory, baits: None) -> AsyncIterator[Stages]:
    """Sandboxes with and without their guards."""
    async with _open(tmp_path_factory.mktemp("escape"), gather_facts()) as stages:
        yield stages


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def bare_stages(tmp_path_factory: pytest.TempPathFactory, baits: None) -> AsyncIterator[Stages]:
    """The same, made as on a host that forbids namespaces."""
    async with _open(tmp_path_factory.mktemp("bare"), replace(gather_facts(), user_namespaces=False)) as stages:
        yield stages
