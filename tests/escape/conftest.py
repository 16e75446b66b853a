"""The stages on which attacks are made, shared by the whole session."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.escape.harness import Stages


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stages(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stages]:
    """Sandboxes with and without their guards."""
    folder = tmp_path_factory.mktemp("escape")
    folder.chmod(0o755)
    stages = Stages(folder)
    try:
        yield stages
    finally:
        await stages.close()
