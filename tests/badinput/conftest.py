"""A runtime that all tests of a module share: what one of them leaves behind must not trouble the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from tests.harness.runtime import Runtime, open_runtime
from tests.harness.web import Web, serving


@pytest.fixture(scope="module")
def lasting_web() -> Iterator[Web]:
    """An HTTP server on loopback."""
    with serving() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting(
    tmp_path_factory: pytest.TempPathFactory, sandbox: ForkSource, shared_bundles: Path, lasting_web: Web
) -> AsyncIterator[Runtime]:
    """A runtime whose twists may reach `lasting_web`."""
    folder = tmp_path_factory.mktemp("lasting")
    async with open_runtime(folder, sandbox, shared_bundles, allow_private=(f"{lasting_web.url}/*",)) as one:
        yield one
