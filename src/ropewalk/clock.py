"""The only module that asks the system what time it is.

Wall time is whole microseconds since 1970 in UTC (`Micros`), as it is stored. Monotonic time is seconds of `CLOCK_BOOTTIME`, which goes
on while the machine sleeps and never steps: leases and deadlines use it. Everything else is given a `Clock`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

Micros = int
"""Microseconds since 1970-01-01T00:00:00Z."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the rest of the host knows of time."""

    def now(self) -> Micros:
        """Wall time; may step either way."""
        ...

    def boottime(self) -> float:
        """Seconds since boot; never steps, goes on while the machine sleeps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Micros:
        """Wall time."""
        return time.time_ns() // 1000

    def boottime(self) -> float:
        """Seconds since boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the kernel's name for the time since its last start: boot times of different ids cannot be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def to_datetime(at: Micros) -> datetime:
    """Return a stored time as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=at)


def from_datetime(at: datetime) -> Micros:
    """Return an aware datetime as a stored time.

    Raises:
        ValueError: the datetime is naive: which zone is meant cannot be known.
    """
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone: use an aware datetime, such as datetime.now(UTC)")
    return (at - _EPOCH) // timedelta(microseconds=1)


def process_cpu() -> float:
    """Return the seconds of CPU time that this process has used since it was forked."""
    return time.process_time()
