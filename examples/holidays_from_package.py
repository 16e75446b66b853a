# /// script
# dependencies = ["holidays>=0.60"]
# ///
"""Put the public holidays of a country into activities, without asking any API: a package knows them."""

import holidays

from ropewalk import ActivityType, NewActivity, Options, Priority, Twist
from ropewalk.tools import Plot


class CountryOptions(Options):
    """Which holidays."""

    country: str
    """Two letters, as in ISO 3166."""
    year: int


class HolidaysFromPackage(Twist):
    """The public holidays of one country and year as all-day events."""

    options: CountryOptions
    plot = Plot()

    async def activate(self, priority: Priority) -> None:
        """Make all of them at once: a year has few."""
        country, year = self.options.country, self.options.year
        found = holidays.country_holidays(country, years=year, language="en_US")
        await self.plot.create_activities(
            [
                NewActivity(
                    type=ActivityType.EVENT, title=name, start=day, source=f"holidays:{country}:{day}", meta={"country": country}
                )
                for day, name in sorted(found.items())
            ]
        )
        self.log.info("%d holidays of %s in %d", len(found), country, year)
