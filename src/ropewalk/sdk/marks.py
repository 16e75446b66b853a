"""`on`: decorators that say what a method is called for. They mark the function and change nothing about it.

What they say goes into the manifest at deploy, and is checked there; from then on that rules.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from msgspec import Struct

from ropewalk.sdk.checks import check_catch_up, check_text, positive_seconds
from ropewalk.sdk.settings import retry
from ropewalk.wire.messages import CatchUp

UnitT = TypeVar("UnitT")

ScheduleHandler = Callable[[UnitT], Coroutine[Any, Any, None]]
"""An async method that takes nothing and returns nothing."""

_SCHEDULES: Final = "__ropewalk_schedules__"


class Schedule(Struct, frozen=True, kw_only=True):
    """When a method recurs. `every` is in seconds."""

    every: float | None
    cron: str | None
    tz: str
    catch_up: CatchUp


class On:
    """`on`: what a method is called for, and how it is retried."""

    retry = staticmethod(retry)

    @staticmethod
    def schedule(
        cron: str | None = None,
        /,
        *,
        every: float | timedelta | None = None,
        tz: str = "UTC",
        catch_up: CatchUp = "one",
    ) -> Callable[[ScheduleHandler[UnitT]], ScheduleHandler[UnitT]]:
        """Have a method run again and again for as long as the version's code says so: from activation on, or the upgrade to it.

        Args:
            cron: when, in five fields: minute, hour, day of the month, month, day of the week.
            every: or seconds between two runs, or a timedelta; at least a second.
            tz: the time zone of the cron expression.
            catch_up: of the runs that were missed while nothing could run: `one`, `all` one after another, `none`.

        Raises:
            ValueError: neither or both of `cron` and `every` are given.
        """
        if (cron is None) == (every is None):
            raise ValueError('on.schedule() takes either a cron expression or every=, such as on.schedule("0 9 * * 1-5")')
        found = Schedule(
            every=None if every is None else positive_seconds(every, "every"),
            cron=None if cron is None else check_text(cron, "on.schedule()"),
            tz=check_text(tz, "tz"),
            catch_up=check_catch_up(catch_up),
        )

        def mark(method: ScheduleHandler[UnitT]) -> ScheduleHandler[UnitT]:
            setattr(method, _SCHEDULES, (found, *schedules_of(method)))
            return method

        return mark


on: Final = On()


def schedules_of(method: object) -> tuple[Schedule, ...]:
    """Return what `@on.schedule` said of a method, the outermost decorator's first."""
    found: tuple[Schedule, ...] = getattr(method, _SCHEDULES, ())
    return found
