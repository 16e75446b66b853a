"""Batching, pattern 1, its failures let out: the runtime undoes the page and runs it again."""

from typing import ClassVar, TypedDict

from ropewalk import ActivityType, NewActivity, Options, RetryPolicy, Twist
from ropewalk.tools import Network, Plot


class Item(TypedDict):
    """An item, as the API gives it."""

    id: int
    title: str
    body: str


class Page(TypedDict):
    """A page of items."""

    items: list[Item]
    has_more: bool


class SyncOptions(Options):
    """Which API."""

    base_url: str


class RetriedPageSync(Twist):
    """Syncs a paginated API that now and then fails."""

    retry: ClassVar[RetryPolicy] = RetryPolicy(attempts=5, first=0.01, maximum=0.05)
    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def sync_page(self, page: int) -> None:
        """Ask for the next page, make this one's activities, and only then find out whether it could be fetched."""
        await self.run_task(self.sync_page, page + 1)
        await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title=f"Page {page}"))
        response = await self.network.fetch(f"{self.options.base_url}/items", params={"page": page})
        response.raise_for_status()
        data = response.json(Page)
        await self.plot.create_activities([NewActivity(type=ActivityType.ACTION, title=item["title"]) for item in data["items"]])
        if not data["has_more"]:
            await self.cancel_all_tasks()
