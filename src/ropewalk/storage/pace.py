"""Pace: how many at once, and how many a second after that. A token bucket whose whole state is one time.

That time is the one from which on the next may start; how far it lies in the past says how many tokens there are (the generic cell rate
algorithm: ITU-T I.371, annex A). So an instance's pace is one column of its row, and what waits for a token is a timer like any other.
Pure: times are passed in, in microseconds of whichever clock their keeper uses.
"""

from __future__ import annotations

from msgspec import Struct

from ropewalk.clock import Micros

FULL: Micros = -(1 << 62)
"""The state of a bucket that is full, whatever its clock says."""


class Pace(Struct, frozen=True, kw_only=True):
    """`burst` at once, refilled at `rate` a second."""

    burst: int
    rate: float

    @property
    def interval(self) -> Micros:
        """How long one token takes to come."""
        return max(1, round(1e6 / self.rate))

    def next(self, state: Micros, at: Micros) -> Micros:
        """Return when the next may start: now when that is not after `at`.

        No bucket lacks more than one token, unless its clock was set back since: it counts as full then, so that nothing waits for that.
        """
        return FULL if state > at + self.interval else state

    def take(self, state: Micros, at: Micros) -> Micros:
        """Return the state once one has started at `at`."""
        return max(self.next(state, at), at - (self.burst - 1) * self.interval) + self.interval

    def used(self, state: Micros, at: Micros) -> int:
        """Return how many tokens are missing from a full bucket."""
        start = self.next(state, at)
        return self.burst if start > at else max(0, self.burst - 1 - (at - start) // self.interval)
