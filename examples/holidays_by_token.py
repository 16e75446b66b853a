"""Copy an API that hands out continuation tokens into activities, one token per execution."""

from datetime import date
from typing import TypedDict

from ropewalk import ActivityType, NewActivity, NewNote, Options, Priority, Twist
from ropewalk.tools import Network, Plot


class Row(TypedDict):
    """A holiday, as the API gives it."""

    id: str
    date: str
    name: str
    country: str
    country_name: str


class Batch(TypedDict):
    """One answer: some rows, and the token that leads to the next ones (None after the last)."""

    rows: list[Row]
    next: str | None


class SyncState(TypedDict):
    """Where the sync is; the first request has no token."""

    next_token: str | None
    total_processed: int


class SyncOptions(Options):
    """Which Datasette, and how much of it at once."""

    base_url: str
    size: int = 100


class HolidaysByToken(Twist):
    """Public holidays of every country as all-day events, fetched as the API's tokens lead."""

    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def activate(self, priority: Priority) -> None:
        """Start without a token."""
        await self.set("sync_state", SyncState(next_token=None, total_processed=0))
        await self.run_task(self.sync_batch)

    async def sync_batch(self) -> None:
        """Copy one batch and go on while there is a token."""
        state = await self.get("sync_state", SyncState)
        if state is None:
            return
        batch = await self.fetch_batch(state["next_token"])
        await self.plot.create_activities([self.activity(row) for row in batch["rows"]])
        total = state["total_processed"] + len(batch["rows"])
        if batch["next"] is not None:
            await self.set("sync_state", SyncState(next_token=batch["next"], total_processed=total))
            await self.run_task(self.sync_batch)
        else:
            self.log.info("sync complete: %d holidays", total)
            await self.clear("sync_state")

    async def fetch_batch(self, token: str | None) -> Batch:
        """Return what the token leads to."""
        response = await self.network.fetch(
            f"{self.options.base_url}/calendar/holidays.json",
            params={"_next": token, "_size": self.options.size, "_shape": "objects", "_nocount": 1},
        )
        response.raise_for_status()
        return response.json(Batch)

    def activity(self, row: Row) -> NewActivity:
        """Return the event for a row. Its `source` names the row, so that a second sync would update it."""
        return NewActivity(
            type=ActivityType.EVENT,
            title=row["name"],
            start=date.fromisoformat(row["date"]),
            source=f"{self.options.base_url}/calendar/holidays/{row['id']}",
            meta={"country": row["country"]},
            notes=[NewNote(content=f"Public holiday in {row['country_name']}")],
        )
