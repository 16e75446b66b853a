"""Performance 4: an event that was processed is not processed again."""

from typing import TypedDict

from ropewalk import ActivityType, NewActivity, Twist
from ropewalk.tools import Plot


class Body(TypedDict):
    """What a service sends."""

    id: str
    title: str


class Debounces(Twist):
    """Receives events, some of them twice."""

    plot = Plot()

    async def on_event(self, body: Body) -> None:
        """Process an event once."""
        processed = await self.get(f"processed:{body['id']}", bool)
        if processed:
            print("Event already processed")
            return
        await self.process_event(body)
        await self.set(f"processed:{body['id']}", True)

    async def burst(self, bodies: list[Body]) -> None:
        """Queue many events at once."""
        for body in bodies:
            await self.run_task(self.on_event, body)

    async def process_event(self, body: Body) -> None:
        """Make an activity of an event."""
        await self.plot.create_activity(NewActivity(type=ActivityType.ACTION, title=body["title"]))
