"""A package index of the tests' own, and a runtime that installs from it and from nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness.index import Index, serving_index
from tests.harness.runtime import Runtime


@pytest.fixture
def index() -> Iterator[Index]:
    """An empty package index."""
    with serving_index() as one:
        yield one


@pytest.fixture
def pip_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's configuration of pip out of the test."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest_asyncio.fixture(loop_scope="session")
async def walk(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], index: Index, pip_alone: None
) -> AsyncIterator[Runtime]:
    """A runtime whose twists' packages come from `index`."""
    async with opened(package_index=index.url) as one:
        yield one
