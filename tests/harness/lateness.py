"""How late the machine made the thread that ends executions: what a limit of time may be passed by beyond its own tolerance.

That thread has to get a CPU first. On a machine that has other things to do it waits for one, and the kernel counts for how long
(`/proc/PID/task/TID/schedstat`, Documentation/scheduler/sched-stats.rst). Waiting for a lock, for the interpreter or for a time that was
chosen badly does not count: being held up by ourselves is no excuse.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from ropewalk.sandbox.watch import Watch


@dataclass
class HeldUp:
    """For how many seconds the thread was ready and had no CPU before the look that ended an execution, since the look before."""

    seconds: float = 0.0


@contextlib.contextmanager
def held_up() -> Iterator[HeldUp]:
    """Measure it for the executions that are ended within the block."""
    found, check = HeldUp(), Watch.check
    before: float | None = None

    def measured(watch: Watch, now: float) -> Callable[[], None] | None:
        nonlocal before
        waited = _waited()
        over = check(watch, now)
        if over is not None and before is not None:
            found.seconds = max(found.seconds, waited - before)
        before = waited
        return over

    with mock.patch.object(Watch, "check", measured):
        yield found


def _waited() -> float:
    """Seconds that the calling thread has waited for a CPU so far; none where the kernel does not count them."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except OSError:
        return 0.0
