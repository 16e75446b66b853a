"""A real package with native code, from the real index: numpy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from ropewalk.service.bundles import BundleError
from tests.harness.runtime import Runtime, open_runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = """
    # /// script
    # dependencies = ["numpy>=2"]
    # ///
    import os
    import threading

    import numpy as np
    from ropewalk import Limits, Twist

    class Computes(Twist):
        limits = Limits(memory=40 * 1024 * 1024)  # less than numpy itself takes

        async def product(self, n: int) -> float:
            ones = np.ones((n, n))
            return float((ones @ ones).sum())

        async def solve(self) -> list[float]:
            return np.linalg.solve(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([9.0, 8.0])).round(9).tolist()

        async def threads(self) -> int:
            np.ones((300, 300)) @ np.ones((300, 300))
            return threading.active_count()

        async def draw(self) -> list[float]:
            return [float(np.random.random()), float(np.random.default_rng().random())]

        async def fill(self, count: int) -> int:
            return np.ones(count, dtype=np.uint8).nbytes
    """

LATE = """
    # /// script
    # dependencies = ["numpy>=2"]
    # ///
    from ropewalk import Twist

    class Late(Twist):
        async def mean(self) -> float:
            import numpy.fft
            return float(abs(numpy.fft.fft(numpy.arange(8.0))).mean().round(6))
    """


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def computing(
    tmp_path_factory: pytest.TempPathFactory, sandbox: ForkSource, shared_bundles: Path
) -> AsyncIterator[tuple[Runtime, str]]:
    """A runtime with an instance of the twist."""
    async with open_runtime(tmp_path_factory.mktemp("numpy"), sandbox, shared_bundles) as runtime:
        try:
            yield runtime, await runtime.run(TWIST)
        except BundleError as error:
            if "cannot be reached" not in str(error):
                raise
            pytest.skip(f"NUMPY WAS NOT TESTED, since there is no package index: {error}")


async def test_it_computes(computing: tuple[Runtime, str]) -> None:
    runtime, instance = computing
    assert await runtime.invoke(instance, "product", 100) == 1_000_000
    assert await runtime.invoke(instance, "solve") == [2.0, 3.0]


async def test_it_starts_no_threads(computing: tuple[Runtime, str]) -> None:
    runtime, instance = computing
    assert await runtime.invoke(instance, "threads") == 1


async def test_its_own_size_counts_against_no_execution(computing: tuple[Runtime, str]) -> None:
    runtime, instance = computing
    assert await runtime.invoke(instance, "fill", 10_000_000) == 10_000_000
    error = await runtime.failure(instance, "fill", 60_000_000)
    assert error.type == "memory_limit"


async def test_its_random_numbers_are_each_execution_s_own(computing: tuple[Runtime, str]) -> None:
    runtime, instance = computing
    drawn = [await runtime.invoke(instance, "draw") for _ in range(4)]
    assert len({number for pair in drawn for number in pair}) == 8


async def test_it_is_imported_late(computing: tuple[Runtime, str]) -> None:
    runtime, _ = computing
    late = await runtime.run(LATE)
    assert await runtime.invoke(late, "mean") == 9.109732
