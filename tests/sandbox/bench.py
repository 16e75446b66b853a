"""Runs single attempts of small modules in a sandbox, and says what came of them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from ropewalk.sandbox.interface import Ended, Image, Limits
from ropewalk.sandbox.processes import ForkedProcess
from ropewalk.sandbox.source import ForkSource
from ropewalk.wire.messages import Finished, GuestMessage, PriorityRecord, Raised, Start, Target

IN_BOTH_MODES = pytest.mark.parametrize("bench", ["standard", "strict"], indirect=True)
"""Marks tests whose twists are imported once for all attempts, and then in each attempt's own process."""

WITHIN = 30.0
"""Seconds that anything here may take before the test is failed."""


def start_of(method: str, *arguments: object) -> Start:
    """Return the Start that runs `method` with these arguments."""
    return Start(
        execution="ex_1",
        attempt=1,
        instance="in_1",
        version=1,
        previous_version=None,
        trigger="invoke",
        target=Target(ns="", method=method, arguments=msgspec.json.encode([arguments, {}])),
        event=b"[]",
        options=b"{}",
        priority=PriorityRecord(id="pr_1", title="Home"),
        seed=secrets.token_bytes(16),
        started_at=0,
        cpu=60.0,
        wall=120.0,
        requests=1000,
    )


@dataclass
class Attempt:
    """A process that has been started, and what it has said and how it ended so far."""

    process: ForkedProcess
    said: list[GuestMessage] = field(default_factory=list[GuestMessage])
    ends: list[Ended] = field(default_factory=list[Ended])
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def _on_end(self, ended: Ended) -> None:
        self.ends.append(ended)
        self.over.set()

    def listen(self) -> None:
        """Listen to the process."""
        self.process.listen(self.said.append, self._on_end)

    def begin(self, method: str, arguments: tuple[object, ...], limits: Limits) -> None:
        """Listen to the process and start it."""
        self.listen()
        self.process.start(start_of(method, *arguments), limits)

    async def ended(self) -> Ended:
        """Wait until it has ended and say how."""
        async with asyncio.timeout(WITHIN):
            await self.over.wait()
        (ended,) = self.ends
        return ended

    async def result(self) -> Any:
        """Wait until it has ended and return what the method returned; fail the test when it raised."""
        await self.ended()
        last = self.said[-1] if self.said else None
        assert isinstance(last, Finished), f"{last} {self.ends}"
        return json.loads(last.result)

    async def error(self) -> Raised:
        """Wait until it has ended and return what the method raised."""
        await self.ended()
        last = self.said[-1]
        assert isinstance(last, Raised), last
        return last


@dataclass
class Bench:
    """A sandbox and the folder of its bundles; with `strict` every process imports its module itself."""

    source: ForkSource
    bundles: Path
    strict: bool = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Bench]:
        """Start the sandbox for a while."""
        await self.source.start()
        try:
            yield self
        finally:
            await self.source.stop()

    def image(self, code: str, limits: Limits | None = None, **files: str) -> Image:
        """Write `code` as module `module`, and other modules by name, to a new bundle."""
        name = f"bundle-{secrets.token_hex(6)}"
        folder = self.bundles / name
        folder.mkdir()
        folder.chmod(0o755)
        for module, text in {"module": code, **files}.items():
            (folder / f"{module}.py").write_text("from ropewalk import Twist\n" + dedent(text))
        return Image(bundle=name, module="module", cls=None, limits=limits or Limits(), strict=self.strict)

    def twist(self, body: str, before: str = "", limits: Limits | None = None) -> Image:
        """Write a module whose twist has one method, `probe`, of this body."""
        indented = "\n".join("        " + line for line in dedent(body).strip().splitlines())
        return self.image(f"{dedent(before)}\nclass Probe(Twist):\n    async def probe(self, *args):\n{indented}\n", limits)

    async def begin(self, image: Image, method: str = "probe", *arguments: object) -> Attempt:
        """Take a process and start it."""
        async with asyncio.timeout(WITHIN):
            attempt = Attempt(await self.source.take(image))
        attempt.begin(method, arguments, image.limits)
        return attempt

    async def run(self, image: Image, *arguments: object) -> Any:
        """Run `probe` and return its result."""
        return await (await self.begin(image, "probe", *arguments)).result()

    async def probe(self, body: str, before: str = "") -> Any:
        """Run a body once, in a version of its own."""
        return await self.run(self.twist(body, before))
