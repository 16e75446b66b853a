"""Performance 1: one call for many activities, with ids of one's own and their first notes."""

from uuid import UUID, uuid4

from ropewalk import ActivityType, NewActivity, NewNote, Twist
from ropewalk.tools import Plot


class MinimizesCalls(Twist):
    """Makes activities."""

    plot = Plot()

    async def slow(self, titles: list[str]) -> None:
        """Make a round trip for each."""
        for title in titles:
            await self.tools.plot.create_activity(
                NewActivity(type=ActivityType.ACTION, title=title, notes=[NewNote(content=f"About {title}")])
            )

    async def fast(self, titles: list[str]) -> list[UUID]:
        """Make one round trip for all."""
        wanted = [
            NewActivity(id=uuid4(), type=ActivityType.ACTION, title=title, notes=[NewNote(id=uuid4(), content=f"About {title}")])
            for title in titles
        ]
        made = await self.tools.plot.create_activities(wanted)
        if [activity.id for activity in made] != [new.id for new in wanted]:
            raise AssertionError("the ids that were given are not those that were made")
        return [activity.id for activity in made]
