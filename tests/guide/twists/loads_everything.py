"""Memory, wrong: everything at once; and right: a page at a time."""

from typing import ClassVar

from ropewalk import Limits, Options, Twist
from ropewalk.tools import Network

MIB = 1024 * 1024


class LoadOptions(Options):
    """Which API."""

    base_url: str


class LoadsEverything(Twist):
    """May use 32 MiB."""

    limits: ClassVar[Limits] = Limits(memory=32 * MIB)
    options: LoadOptions
    network = Network(urls=["{base_url}/*"])

    async def sync_all(self, pages: int) -> int:
        """Keep every page."""
        all_events = [await self.fetch_page() for _ in range(pages)]
        return sum(map(len, all_events))

    async def sync_caught(self, pages: int) -> str:
        """Keep every page, and believe that an `except` is a way out."""
        try:
            await self.sync_all(pages)
        except MemoryError:
            return "went on"
        finally:
            await self.set("finally", True)
        return "fitted"

    async def sync_batch(self, pages: int) -> int:
        """Take a page at a time."""
        total = 0
        for _ in range(pages):
            total += len(await self.fetch_page())
        return total

    async def fetch_page(self) -> bytes:
        """Fetch 4 MiB."""
        response = await self.network.fetch(f"{self.options.base_url}/large", params={"bytes": 4 * MIB})
        return response.content
