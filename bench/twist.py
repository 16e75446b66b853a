"""The twist that is measured. It is deployed like any other."""

from __future__ import annotations

import time

from ropewalk import Twist


class Bench(Twist):
    """Does what each measurement asks of one execution."""

    async def noop(self) -> None:
        """Nothing at all."""

    async def get_set(self) -> None:
        """One read, one write."""
        count = await self.get("count", int, default=0)
        await self.set("count", count + 1)

    async def ten_calls(self) -> None:
        """Ten host calls, one after another."""
        for number in range(5):
            count = await self.get(f"count-{number}", int, default=0)
            await self.set(f"count-{number}", count + 1)

    async def hop(self, left: int) -> None:
        """A durable hop: two reads, two writes, one follow-up."""
        done = await self.get("done", int, default=0)
        total = await self.get("total", int, default=0)
        await self.set("done", done + 1)
        await self.set("total", total + left)
        if left > 1:
            await self.run_task(self.hop, left - 1)

    async def first_line(self) -> int:
        """When the author's code began, on the machine's own clock."""
        return time.monotonic_ns()

    async def hold(self, seconds: float) -> None:
        """Stay, as a running process to look at."""
        await self.get("count", int)
        time.sleep(seconds)  # noqa: ASYNC251 — it is to stay as it is, without an event loop
