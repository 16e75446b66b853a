"""A runtime that all tests of a module share, and what each of them ends with: the greedy instance and another go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from ropewalk.storage.records import Execution
from tests.badinput.aftermath import BENIGN
from tests.harness.lateness import held_up
from tests.harness.runtime import Runtime, open_runtime

GREEDY = Path(__file__).parent / "twists" / "greedy.py"


@dataclass
class Trial:
    """A runtime with an instance that does no harm, to see that nothing is done to it."""

    runtime: Runtime
    beside: str
    held_up: float = 0.0
    """Seconds by which the machine made the host late while the last one was ended."""

    async def greedy(self, limits: str = "") -> str:
        """Return a new instance of the greedy twist, with these limits of its own: `cpu=0.5, memory=64 * MIB`."""
        return await self.runtime.run(GREEDY.read_text().replace("limits = Limits()", f"limits = Limits({limits})"))

    async def ended(self, instance: str, method: str, *args: object) -> Execution:
        """Have a method ended by a limit: nothing of it is kept, and the instance and another go on. Returns the execution."""
        before = await self.runtime.keys(instance)
        with held_up() as late:
            execution = await self.runtime.finish(await self.runtime.queue(instance, method, *args))
        self.held_up = late.seconds
        assert execution.status == "failed", execution.result
        assert await self.runtime.keys(instance) == before
        await self.goes_on(instance)
        return execution

    async def goes_on(self, instance: str) -> None:
        """Fail unless the instance and the other one still answer."""
        assert await self.runtime.invoke(instance, "benign") == "fine"
        assert await self.runtime.invoke(self.beside, "benign") == "fine"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def trial(tmp_path_factory: pytest.TempPathFactory, sandbox: ForkSource, shared_bundles: Path) -> AsyncIterator[Trial]:
    """A runtime of the module's."""
    folder = tmp_path_factory.mktemp("limits")
    async with open_runtime(folder, sandbox, shared_bundles) as runtime:
        yield Trial(runtime, await runtime.run(BENIGN))
