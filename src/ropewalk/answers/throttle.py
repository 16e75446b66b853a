"""How often each instance may ask for something that only this node does, such as an HTTP request.

Kept in memory: an instance is leased to one node at a time, and what a node forgets when it ends is at most one burst. Time is the boot
clock's, which does not step.
"""

from __future__ import annotations

from ropewalk.clock import Clock, Micros
from ropewalk.storage.pace import FULL, Pace

_KEPT = 1_000
"""Instances from which on those whose bucket has filled up again are forgotten."""


class Throttle:
    """A bucket for each instance, full at first.

    Args:
        pace: how many at once, and how many a second after that.
        clock: what time it is.
    """

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self.pace = pace
        self._clock = clock
        self._states: dict[str, Micros] = {}
        self._forget_at = _KEPT

    def take(self, instance: str) -> float | None:
        """Take a token of an instance's; without one, take nothing and return the seconds until there is one."""
        now = round(self._clock.boottime() * 1e6)
        state = self._states.get(instance, FULL)
        wait = self.pace.next(state, now) - now
        if wait > 0:
            return wait / 1e6
        self._states[instance] = self.pace.take(state, now)
        if len(self._states) > self._forget_at:
            self._forget(now)
        return None

    def _forget(self, now: Micros) -> None:
        self._states = {instance: state for instance, state in self._states.items() if self.pace.used(state, now) > 0}
        self._forget_at = max(_KEPT, 2 * len(self._states))
