"""A workbench for the sandbox's tests: modules written to bundles of their own, and attempts of their twists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ropewalk.sandbox.source import ForkSource
from tests.sandbox.bench import Bench


@pytest.fixture(autouse=True)
def no_error_in_the_event_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which a callback of the event loop raised: asyncio only logs that."""
    yield
    errors = [
        record.getMessage() for when in ("setup", "call") for record in caplog.get_records(when) if record.name == "asyncio"
    ]
    assert errors == []


@pytest.fixture
def bench(sandbox: ForkSource, shared_bundles: Path, request: pytest.FixtureRequest) -> Bench:
    """The session's sandbox, for tests that do no harm to its root zygote; strict for modules that say so (`IN_BOTH_MODES`)."""
    return Bench(sandbox, shared_bundles, strict=getattr(request, "param", "standard") == "strict")


@pytest.fixture
def own_bench(tmp_path: Path) -> Callable[[], Bench]:
    """Makes a bench with a sandbox of its own, which the test starts and stops."""
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    return lambda: Bench(ForkSource(str(bundles)), bundles)
