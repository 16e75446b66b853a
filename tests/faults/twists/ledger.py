"""Syncs an API and keeps books so that anything that is lost, done twice or done by half shows.

Its activities have no `source`: a second one of the same title would stand beside the first. Each page's count, the total and the
activities are written by one execution, and the next page is asked for by it.
"""

import time
from typing import TypedDict

from ropewalk import ActivityType, NewActivity, NewNote, Options, Priority, Twist
from ropewalk.tools import Network, Plot


class Page(TypedDict):
    """A page of names."""

    items: list[str]
    has_more: bool


class LedgerOptions(Options):
    """Which API, and what of it."""

    base_url: str
    name: str


class Ledger(Twist):
    """Takes page after page."""

    options: LedgerOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def activate(self, priority: Priority) -> None:
        """Begin at the first page."""
        await self.run_task(self.sync_page, 1)

    async def sync_page(self, page: int) -> None:
        """Take one page and enter it in the books."""
        response = await self.network.fetch(
            f"{self.options.base_url}/endless",
            params={"page": page, "of": self.options.name},
            headers={"idempotency-key": self.execution.key("page")},
        )
        data = response.json(Page)
        await self.plot.create_activities(
            [NewActivity(type=ActivityType.ACTION, title=title, notes=[NewNote(content=title)]) for title in data["items"]]
        )
        await self.count(f"page:{page:06}", 1)
        await self.count("total", len(data["items"]))
        if data["has_more"]:
            await self.run_task(self.sync_page, page + 1)
        else:
            await self.set("last", page)

    async def count(self, key: str, by: int) -> None:
        """Add to a number of the books."""
        await self.set(key, await self.get(key, int, default=0) + by)

    async def meet(self, name: str) -> str:
        """Wait for an answer that the test gives, then write."""
        print("waiting")
        await self.count("met", 1)
        response = await self.network.fetch(f"{self.options.base_url}/one/{name}", timeout=60)
        return str(response.json()["name"])

    async def nap(self, seconds: float) -> str:
        """Write, and go on for a while without asking the host for anything."""
        await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="napped"))
        time.sleep(seconds)
        return "napped"

    async def benign(self) -> str:
        """Do what is right."""
        await self.set("benign", True)
        return "fine"
