"""A clock whose wall time a test may step; boot time is the machine's own, as leases need it."""

from __future__ import annotations

from ropewalk.clock import Micros, SystemClock


class SteppedClock:
    """The machine's clock, `offset` microseconds away from its wall time."""

    def __init__(self) -> None:
        self.offset: Micros = 0
        self._system = SystemClock()

    def now(self) -> Micros:
        """Wall time, stepped."""
        return self._system.now() + self.offset

    def boottime(self) -> float:
        """Seconds since boot."""
        return self._system.boottime()

    def step(self, *, seconds: float) -> None:
        """Move the wall time, forwards or back."""
        self.offset += round(seconds * 1e6)
