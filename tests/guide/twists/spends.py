"""Execution model: the limits of CPU, memory and requests."""

import asyncio
from typing import ClassVar

from ropewalk import Limits, RopewalkError, Twist


class Spends(Twist):
    """May use little of everything."""

    limits: ClassVar[Limits] = Limits(cpu=0.5, memory=32 * 1024 * 1024, requests=20)

    async def cpu(self) -> None:
        """Use more CPU than it may."""
        await self.set("half", True)
        while True:
            pass

    async def memory(self) -> int:
        """Use more memory than it may."""
        await self.set("half", True)
        return len(bytearray(64 * 1024 * 1024))

    async def requests(self) -> str:
        """Make more requests than it may, and catch what comes."""
        await self.set("half", True)
        try:
            for number in range(30):
                await self.get(f"key {number}")
        except RopewalkError:
            await asyncio.sleep(3600)
        return "went on"

    async def little(self) -> int:
        """Stay within the limits."""
        return self.execution.requests_left
