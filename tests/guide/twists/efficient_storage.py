"""Memory, efficient storage: two fields instead of the whole record."""

from ropewalk import Options, Twist
from ropewalk.tools import Network


class StorageOptions(Options):
    """Which API."""

    base_url: str


class EfficientStorage(Twist):
    """Keeps a user."""

    options: StorageOptions
    network = Network(urls=["{base_url}/*"])

    async def keep_everything(self) -> None:
        """Store the full response."""
        response = await self.network.fetch(f"{self.options.base_url}/users/123")
        full_data = response.json()
        await self.set("user_data", full_data)

    async def keep_what_is_needed(self) -> None:
        """Store the name and the address."""
        response = await self.network.fetch(f"{self.options.base_url}/users/123")
        data = response.json()
        await self.set("user_name", data["name"])
        await self.set("user_email", data["email"])
