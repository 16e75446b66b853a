"""Execution model: what a twist responds to, and what is there when it does."""

import os
import threading
import time

from ropewalk import Priority, Twist


class Lifecycle(Twist):
    """Notes each event."""

    async def activate(self, priority: Priority) -> None:
        """Respond to being added."""
        await self.note(priority.title)
        await self.run_task(self.scheduled)
        await self.run_task(self.scheduled_later, delay=3600)

    async def upgrade(self) -> None:
        """Respond to a new version."""
        await self.note(f"from {self.execution.previous_version}")

    async def deactivate(self) -> None:
        """Respond to being removed."""
        await self.note("")

    async def scheduled(self) -> None:
        """Respond to a task."""
        await self.note("")

    async def scheduled_later(self) -> None:
        """Respond to a task of an hour later."""
        await self.note("later")

    async def note(self, text: str) -> None:
        """Log which event this is."""
        self.log.info("%s %s", self.execution.trigger, text)

    async def process(self) -> int:
        """Which process this is."""
        return os.getpid()

    async def leaves_threads(self) -> int:
        """Return while threads still run and descriptors are open."""
        for _ in range(3):
            threading.Thread(target=time.sleep, args=(3600,)).start()
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        return os.dup(0)
