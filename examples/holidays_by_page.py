"""Copy a paginated API into activities, one page per execution."""

from datetime import UTC, date, datetime
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


class SyncState(TypedDict):
    """Where the sync is: everything that the next execution needs to know."""

    page: int
    total_processed: int
    start_time: str


class SyncOptions(Options):
    """Which Datasette, and how much of it at once."""

    base_url: str
    per_page: int = 100


class HolidaysByPage(Twist):
    """Public holidays of every country as all-day events, fetched page by page."""

    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def activate(self, priority: Priority) -> None:
        """Start at the first page."""
        await self.set("sync_state", SyncState(page=1, total_processed=0, start_time=datetime.now(UTC).isoformat()))
        await self.run_task(self.sync_page)

    async def sync_page(self) -> None:
        """Copy one page and, when it was full, ask for the next."""
        state = await self.get("sync_state", SyncState)
        if state is None:
            return
        rows = await self.fetch_page(state["page"])
        await self.plot.create_activities([self.activity(row) for row in rows])
        state["total_processed"] += len(rows)
        state["page"] += 1
        if len(rows) == self.options.per_page:
            await self.set("sync_state", state)
            await self.run_task(self.sync_page)
        else:
            self.log.info("sync complete: %d holidays since %s", state["total_processed"], state["start_time"])
            await self.clear("sync_state")

    async def fetch_page(self, page: int) -> list[Row]:
        """Return the rows of one page; the one after the last full page may be empty."""
        response = await self.network.fetch(
            f"{self.options.base_url}/calendar/page.json",
            params={"page": page, "size": self.options.per_page, "_shape": "array"},
        )
        response.raise_for_status()
        return response.json(list[Row])

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
