"""Limitations 3, right: data goes into the store."""

from ropewalk import Twist


class StoresData(Twist):
    """Keeps data in the store."""

    async def save(self, data: dict[str, list[int]]) -> None:
        """Keep the data."""
        await self.set("data", data)

    async def load(self) -> dict[str, list[int]] | None:
        """Return the data."""
        return await self.get("data", dict[str, list[int]])
