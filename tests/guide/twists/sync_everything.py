"""Limitations 2, wrong: thousands of items in one execution run into its limit."""

import time
from typing import ClassVar

from ropewalk import ActivityType, Limits, NewActivity, Options, Twist
from ropewalk.tools import Network, Plot


class SyncOptions(Options):
    """Which API."""

    base_url: str


class SyncEverything(Twist):
    """Takes all there is, one item after another."""

    limits: ClassVar[Limits] = Limits(wall=1.0)
    options: SyncOptions
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def sync_all_events(self) -> None:
        """Fetch every event, then process each."""
        response = await self.network.fetch(f"{self.options.base_url}/items", params={"per_page": 100_000})
        for event in response.json()["items"]:
            await self.process_event(event["title"])

    async def process_event(self, title: str) -> None:
        """Work a while on one event."""
        time.sleep(0.01)
        await self.plot.create_activity(NewActivity(type=ActivityType.ACTION, title=title))
