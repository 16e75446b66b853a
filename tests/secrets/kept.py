"""An instance that keeps secrets, as the tests of this folder have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ropewalk.service.changing import change
from ropewalk.service.options import Given
from tests.egress.origin import Origin
from tests.harness.runtime import Runtime

KEEPER = Path(__file__).with_name("twists") / "keeper.py"
TOKEN = "tok_5f1e9A/+=c0ffee"
PIN = 'p1n-ünd-"0815"'


class Kept(NamedTuple):
    """The instance, where it runs, and the servers that it talks to: the one that its secrets are for, and another."""

    runtime: Runtime
    instance: str
    origin: Origin
    other: Origin

    async def call(self, method: str, *args: object) -> Any:
        """Call a method and return its result. Raises Failed."""
        return await self.runtime.invoke(self.instance, method, *args)

    async def change(self, **given: str) -> str | None:
        """Change options; returns the execution of the hook."""
        texts = {name: Given(text, named=True) for name, text in given.items()}
        return await change(self.runtime.service, await self.runtime.instance(self.instance), texts)
