"""Limitations 1, right: what is set in the store is there for every later execution."""

from ropewalk import Priority, Twist


class StoredState(Twist):
    """Keeps its token in the store."""

    async def activate(self, priority: Priority) -> None:
        """Persist the token."""
        await self.set("sync_token", "abc123")

    async def some_method(self) -> str | None:
        """Retrieve it in another execution."""
        token = await self.get("sync_token", str)
        print(token)
        return token
