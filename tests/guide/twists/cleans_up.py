"""State clean-up in deactivate: all keys, specific keys, or those with a prefix."""

from typing import Literal

from ropewalk import Options, Priority, Twist


class CleanUp(Options):
    """Which way."""

    way: Literal["all", "keys", "prefix"] = "all"


class CleansUp(Twist):
    """Clears its state when it is removed."""

    options: CleanUp

    async def activate(self, priority: Priority) -> None:
        """Leave some state."""
        await self.set_many({"sync:page_token": "t", "cache:user:123": "Ada", "cache:user:456": "Bob", "other": 1})

    async def deactivate(self) -> None:
        """Clear it, and say what is left."""
        if self.options.way == "all":
            await self.clear_all()
        elif self.options.way == "keys":
            await self.clear("sync:page_token")
            await self.clear("cache:user:123")
        else:
            await self.clear_all(prefix="cache:")
        self.log.info("left: %s", ", ".join(await self.keys()))
