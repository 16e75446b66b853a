"""Timeout handling: the duration is watched, and what remains is saved and rescheduled."""

import time
from typing import ClassVar

from ropewalk import Limits, Twist


class LongOperation(Twist):
    """Has more to do than fits into one execution."""

    limits: ClassVar[Limits] = Limits(wall=3.0)

    async def long_operation(self, items: list[int]) -> None:
        """Process items until time runs short."""
        start = time.monotonic()
        for index, item in enumerate(items):
            if time.monotonic() - start > 0.2:
                await self.set("remaining_items", items[index:])
                callback = await self.callback(self.continue_operation)
                await self.run_task(callback)
                return
            await self.process_item(item)
        await self.clear("remaining_items")

    async def continue_operation(self) -> None:
        """Go on with what remains."""
        await self.long_operation(await self.get("remaining_items", list[int], default=[]))

    async def watched_by_the_runtime(self, items: list[int]) -> None:
        """The same, asking the runtime how much time is left."""
        for index, item in enumerate(items):
            if self.execution.remaining.total_seconds() < 2.8:
                await self.run_task(self.watched_by_the_runtime, items[index:])
                return
            await self.process_item(item)

    async def process_item(self, item: int) -> None:
        """Work for 20 ms and count."""
        time.sleep(0.02)
        await self.set(f"processed:{item:02}", await self.get(f"processed:{item:02}", int, default=0) + 1)
