"""Limitations 4, right: a cache in the store, under prefixed keys."""

from ropewalk import Twist


class PrefixedCache(Twist):
    """Keeps its cache in the store."""

    async def fill(self) -> None:
        """Cache two values."""
        await self.set("cache:key1", "value1")
        await self.set("cache:key2", "value2")

    async def look(self) -> dict[str, str]:
        """Return what is cached."""
        return await self.get_many(await self.keys("cache:"), str)
