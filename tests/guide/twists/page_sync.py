"""Batching, pattern 1: a page per execution, with a failure that is caught and logged."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypedDict

from ropewalk import ActivityType, NewActivity, NewNote, Options, Twist
from ropewalk.tools import Network, Plot


@dataclass
class SyncState:
    """Where the sync is."""

    page: int
    total_processed: int
    start_time: datetime


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


class PageSync(Twist):
    """Syncs a paginated API."""

    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def start_sync(self) -> None:
        """Begin at the first page."""
        await self.set("sync_state", SyncState(page=1, total_processed=0, start_time=datetime.now(UTC)))
        callback = await self.callback(self.sync_page)
        await self.run_task(callback)

    async def sync_page(self) -> None:
        """Process one page and queue the next."""
        state = await self.get("sync_state", SyncState)
        if not state:
            return
        try:
            data = await self.fetch_page(state.page)
            for item in data["items"]:
                await self.process_item(item)
            new_state = SyncState(state.page + 1, state.total_processed + len(data["items"]), state.start_time)
            if data["has_more"]:
                await self.set("sync_state", new_state)
                callback = await self.callback(self.sync_page)
                await self.run_task(callback)
            else:
                print(f"Sync complete: {new_state.total_processed} items")
                await self.clear("sync_state")
        except Exception as error:  # noqa: BLE001 — the pattern logs whatever it was
            self.log.error("Sync error: %s", error)

    async def fetch_page(self, page: int) -> Page:
        """Fetch one page."""
        response = await self.network.fetch(f"{self.options.base_url}/items", params={"page": page, "per_page": 50})
        response.raise_for_status()
        return response.json(Page)

    async def process_item(self, item: Item) -> None:
        """Make an activity of an item."""
        await self.plot.create_activity(
            NewActivity(type=ActivityType.ACTION, title=item["title"], start=None, notes=[NewNote(content=item["body"])])
        )
