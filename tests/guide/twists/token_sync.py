"""Batching, pattern 2: a continuation token per execution."""

from typing import TypedDict

from ropewalk import ActivityType, NewActivity, Options, Twist
from ropewalk.tools import Network, Plot


class SyncState(TypedDict):
    """Where the sync is; the first request has no token."""

    next_token: str | None
    total_processed: int


class Item(TypedDict):
    """An item, as the API gives it."""

    id: int
    title: str
    body: str


class Batch(TypedDict):
    """Some items, and the token that leads to the next ones."""

    items: list[Item]
    next_token: str | None


class SyncOptions(Options):
    """Which API."""

    base_url: str


class TokenSync(Twist):
    """Syncs an API that hands out tokens."""

    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def start_sync(self) -> None:
        """Begin without a token."""
        await self.set("sync_state", SyncState(next_token=None, total_processed=0))
        callback = await self.callback(self.sync_batch)
        await self.run_task(callback)

    async def sync_batch(self) -> None:
        """Process one batch and go on while there is a token."""
        state = await self.get("sync_state", SyncState)
        if not state:
            return
        response = await self.network.fetch(f"{self.options.base_url}/batch", params={"token": state["next_token"]})
        data = response.json(Batch)
        for item in data["items"]:
            await self.process_item(item)
        total = state["total_processed"] + len(data["items"])
        if data["next_token"]:
            await self.set("sync_state", SyncState(next_token=data["next_token"], total_processed=total))
            callback = await self.callback(self.sync_batch)
            await self.run_task(callback)
        else:
            print(f"Complete: {total} items")
            await self.clear("sync_state")

    async def process_item(self, item: Item) -> None:
        """Make an activity of an item."""
        await self.plot.create_activity(NewActivity(type=ActivityType.ACTION, title=item["title"]))
