"""Timeout handling: what it looks like from inside, and how to hand over before it comes."""

import asyncio
import atexit
import time
from typing import ClassVar

from ropewalk import Limits, Twist


class RunsOutOfTime(Twist):
    """May run for a second and use half a second of CPU."""

    limits: ClassVar[Limits] = Limits(wall=1.0, cpu=0.5)

    async def computes(self) -> None:
        """Loop for ever."""
        await self.begin()
        while True:
            pass

    async def computes_in_a_thread(self) -> None:
        """Loop for ever in a thread, and wait for it."""
        await self.begin()
        await asyncio.to_thread(self.spin)

    async def sleeps(self) -> None:
        """Wait for too long."""
        await self.begin()
        try:
            await asyncio.sleep(3600)
        except BaseException:
            await self.set("caught", True)
            raise
        finally:
            print("finally")
            await self.set("finally", True)

    async def blocks(self) -> None:
        """Block the whole process for too long."""
        await self.begin()
        time.sleep(3600)

    async def begin(self) -> None:
        """Leave marks that must not stay, and one that must."""
        atexit.register(print, "atexit")
        await self.set("half", True)
        await self.run_task(self.marks)
        print("began")

    async def marks(self) -> None:
        """Say that a task of an ended execution ran."""
        await self.set("task ran", True)

    @staticmethod
    def spin() -> None:
        """Loop for ever."""
        while True:
            pass
