"""Performance 3: look in the cache first."""

from typing import TypedDict

from ropewalk import Options, Twist
from ropewalk.tools import Network


class UserData(TypedDict):
    """What is needed of a user."""

    name: str
    email: str


class CacheOptions(Options):
    """Which API."""

    base_url: str


class CachesUsers(Twist):
    """Knows users."""

    options: CacheOptions
    network = Network(urls=["{base_url}/*"])

    async def get_user_data(self, user_id: str) -> UserData:
        """Return a user, fetched once."""
        cached = await self.get(f"cache:user:{user_id}", UserData)
        if cached:
            return cached
        data = await self.network.fetch(f"{self.options.base_url}/users/{user_id}")
        user_data = data.json(UserData)
        await self.set(f"cache:user:{user_id}", user_data)
        return user_data
