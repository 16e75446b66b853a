"""Performance 2: independent requests at the same time."""

import asyncio

from ropewalk import Options, Twist
from ropewalk.tools import Network


class FetchOptions(Options):
    """Which API."""

    base_url: str


class ParallelFetch(Twist):
    """Fetches a user, repositories and issues."""

    options: FetchOptions
    network = Network(urls=["{base_url}/*"])

    async def sequential(self) -> list[str]:
        """One after another."""
        user = await self.fetch("user")
        repos = await self.fetch("repos")
        issues = await self.fetch("issues")
        return [user, repos, issues]

    async def parallel(self) -> list[str]:
        """All at once."""
        user, repos, issues = await asyncio.gather(self.fetch("user"), self.fetch("repos"), self.fetch("issues"))
        return [user, repos, issues]

    async def grouped(self) -> list[str]:
        """All at once, in a task group."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.fetch(name)) for name in ("user", "repos", "issues")]
        return [task.result() for task in tasks]

    async def fetch(self, name: str) -> str:
        """Fetch one of them."""
        response = await self.network.fetch(f"{self.options.base_url}/one/{name}", timeout=2)
        response.raise_for_status()
        return str(response.json()["name"])
