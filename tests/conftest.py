"""The parts that acceptance tests share: a sandbox for the session, a runtime or command line and a web server for each test.

Modules that use `runtime` run in the session's event loop, since the sandbox lives there:
`pytestmark = pytest.mark.asyncio(loop_scope="session")`.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from tests.harness.commands import Begun, Cli
from tests.harness.runtime import Runtime, open_runtime, open_sandbox
from tests.harness.web import Web, serving

CAMPAIGN = "campaign"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of long campaigns known, and let commands be interrupted even where a shell started the tests in its background.

    A node allows itself every descriptor that it may have; this process has a dozen sandboxes of its own at times.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", f"{CAMPAIGN}: runs for many minutes, and only when asked for with -m {CAMPAIGN}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave campaigns out unless they are asked for."""
    if CAMPAIGN in config.option.markexpr:
        return
    campaigns = [item for item in items if item.get_closest_marker(CAMPAIGN)]
    if campaigns:
        config.hook.pytest_deselected(items=campaigns)
        items[:] = [item for item in items if item not in campaigns]


@pytest.fixture(autouse=True)
def commands_end() -> Iterator[None]:
    """End the commands that a failed test has left beside it."""
    yield
    for command in tuple(Begun.all):
        command.kill()


@pytest.fixture(scope="session")
def shared_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of every bundle that the session's sandbox sees."""
    return tmp_path_factory.mktemp("bundles")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sandbox(shared_bundles: Path) -> AsyncIterator[ForkSource]:
    """A started sandbox, for all tests that do not end it."""
    async with open_sandbox(shared_bundles) as source:
        yield source


@pytest.fixture
def web() -> Iterator[Web]:
    """An HTTP server on loopback."""
    with serving() as server:
        yield server


@pytest.fixture
def opened(tmp_path: Path, sandbox: ForkSource, shared_bundles: Path) -> Callable[..., AbstractAsyncContextManager[Runtime]]:
    """What opens a runtime with settings of the test's own, such as `limit_store=10_000`."""

    def opens(**settings: Any) -> AbstractAsyncContextManager[Runtime]:
        return open_runtime(tmp_path, sandbox, shared_bundles, **settings)

    return opens


@pytest_asyncio.fixture(loop_scope="session")
async def runtime(tmp_path: Path, sandbox: ForkSource, shared_bundles: Path, web: Web) -> AsyncIterator[Runtime]:
    """A runtime with an empty database, whose twists may reach `web`."""
    async with open_runtime(tmp_path, sandbox, shared_bundles, allow_private=(f"{web.url}/*",)) as one:
        yield one


@pytest.fixture
def cli(tmp_path: Path, web: Web) -> Cli:
    """The `ropewalk` command on a database of this test's own, whose twists may reach `web`."""
    return Cli(tmp_path, ROPEWALK_ALLOW_PRIVATE=f"{web.url}/*")
