"""Work through an array, ten items per execution, each batch in parallel."""

import asyncio
from datetime import date
from typing import TypedDict

from ropewalk import ActivityType, NewActivity, NewNote, Options, Priority, Twist
from ropewalk.tools import Network, Plot


class Country(TypedDict):
    """A country, as the API gives it."""

    code: str
    name: str


class Row(TypedDict):
    """A holiday, as the API gives it."""

    id: str
    date: str
    name: str


class SyncOptions(Options):
    """Which Datasette, and how many countries at once."""

    base_url: str
    batch_size: int = 10


class HolidaysByItem(Twist):
    """Public holidays as all-day events, for one country after another."""

    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def activate(self, priority: Priority) -> None:
        """Fetch the array of countries and start at its first."""
        response = await self.network.fetch(
            f"{self.options.base_url}/calendar/countries.json", params={"_shape": "array", "_size": "max"}
        )
        response.raise_for_status()
        await self.set("items_to_process", response.json(list[Country]))
        await self.set("process_index", 0)
        await self.run_task(self.process_batch)

    async def process_batch(self) -> None:
        """Copy the holidays of some countries and, while others are left, go on with them."""
        countries = await self.get("items_to_process", list[Country]) or []
        index = await self.get("process_index", int, default=0)
        batch = countries[index : index + self.options.batch_size]
        await asyncio.gather(*[self.process_country(country) for country in batch])
        if index + len(batch) < len(countries):
            await self.set("process_index", index + len(batch))
            await self.run_task(self.process_batch)
        else:
            self.log.info("sync complete: %d countries", len(countries))
            await self.clear("items_to_process")
            await self.clear("process_index")

    async def process_country(self, country: Country) -> None:
        """Copy the holidays of one country."""
        response = await self.network.fetch(
            f"{self.options.base_url}/calendar/holidays.json",
            params={"country": country["code"], "_shape": "array", "_size": "max"},
        )
        response.raise_for_status()
        await self.plot.create_activities([self.activity(country, row) for row in response.json(list[Row])])

    def activity(self, country: Country, row: Row) -> NewActivity:
        """Return the event for a row. Its `source` names the row, so that a second sync would update it."""
        return NewActivity(
            type=ActivityType.EVENT,
            title=row["name"],
            start=date.fromisoformat(row["date"]),
            source=f"{self.options.base_url}/calendar/holidays/{row['id']}",
            meta={"country": country["code"]},
            notes=[NewNote(content=f"Public holiday in {country['name']}")],
        )
