"""State management: save, retrieve and clear; keys in groups by prefix."""

from datetime import UTC, datetime
from typing import TypedDict

from ropewalk import Twist


class User(TypedDict):
    """A cached user."""

    name: str


class StoreTool(Twist):
    """Uses every verb of the store."""

    async def save(self, key: str, value: object) -> None:
        """Save state."""
        await self.set(key, value)

    async def retrieve(self, key: str) -> object:
        """Retrieve state."""
        return await self.get(key)

    async def clear_one(self, key: str) -> None:
        """Clear one key."""
        await self.clear(key)

    async def clear_everything(self) -> None:
        """Clear every key."""
        await self.clear_all()

    async def organise(self) -> None:
        """Keep configuration, sync state and cache apart by prefixes."""
        await self.set("config:api_key", "key")
        await self.set("config:workspace_id", "workspace")
        await self.set("sync:last_run", datetime.now(UTC).isoformat())
        await self.set("sync:page_token", "token")
        await self.set("cache:user:123", User(name="Ada"))
        await self.set("cache:repo:456", {"stars": 3})

    async def under(self, prefix: str) -> list[str]:
        """List the keys with a prefix."""
        return await self.keys(prefix)

    async def user(self) -> str | None:
        """Return a typed value's field."""
        user = await self.get("cache:user:123", User)
        return user["name"] if user else None
