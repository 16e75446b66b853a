"""Limitations 2, right: a page an execution, each asking for the next."""

from typing import TypedDict

from ropewalk import ActivityType, NewActivity, Options, Twist
from ropewalk.tools import Network, Plot


class Item(TypedDict):
    """An item, as the API gives it."""

    id: int
    title: str
    body: str


class Events(TypedDict):
    """A page."""

    items: list[Item]
    has_more: bool


class SyncState(TypedDict):
    """Where the sync is."""

    page: int
    total: int


class SyncOptions(Options):
    """Which API."""

    base_url: str


class SyncInBatches(Twist):
    """Takes a page at a time."""

    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def start_sync(self) -> None:
        """Begin at the first page."""
        await self.set("sync_state", {"page": 1, "total": 0})
        callback = await self.callback(self.sync_batch)
        await self.run_task(callback)

    async def sync_batch(self) -> None:
        """Process one page, and queue the next if there is one."""
        state = await self.get("sync_state", SyncState)
        if not state:
            return
        events = await self.fetch_events_page(state["page"])
        await self.process_events(events["items"])
        if events["has_more"]:
            await self.set("sync_state", {"page": state["page"] + 1, "total": state["total"] + len(events["items"])})
            callback = await self.callback("sync_batch")
            await self.run_task(callback)

    async def fetch_events_page(self, page: int) -> Events:
        """Fetch one page."""
        response = await self.network.fetch(f"{self.options.base_url}/items", params={"page": page})
        response.raise_for_status()
        return response.json(Events)

    async def process_events(self, items: list[Item]) -> None:
        """Make an activity of each."""
        await self.plot.create_activities([NewActivity(type=ActivityType.ACTION, title=item["title"]) for item in items])
