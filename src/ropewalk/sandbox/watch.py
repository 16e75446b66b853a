"""Limits on CPU, wall time and memory, kept by a thread of their own: they hold to the millisecond though the event loop is late.

The kernel has no such limits for a process that is not to be trusted with them: `RLIMIT_CPU` counts whole seconds, a timer that a guest's
process makes for itself is made by code that the author's import may have changed, and `RLIMIT_DATA` makes requests fail, which can be
ignored. So they are looked at from outside. The event loop runs SQL and decodes what guests say, and is at times busy for tenths of a
second; this thread does nothing else, needs the interpreter's lock for microseconds, and ends what has used too much by itself. It
tells the event loop afterwards.

A process is looked at when it could have used its budget up, and every `LOOK` at the latest: its CPU clock, which costs a microsecond, and
its memory when that clock has gone on, since only what runs can take memory; always, where it may have made others, which run while it
sleeps. So a process that lives for a millisecond costs two entries of a set. Should this very thread be held up, by a machine that is frozen
or starved, the kernel's own limits stand behind it: CPU to the next whole second, memory to a tenth beyond its limit (`Limits.memory_bound`).

Before: `processes` and `zygotes`, which say what may be used. After: they, when it was.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from ropewalk.sandbox.inspection import Status
from ropewalk.wire.control import THREADS

CPUS: Final = len(os.sched_getaffinity(0))
"""How many processes can run at once."""

LOOK: Final = 0.02
"""Seconds between two looks at a process, at the most."""

CLOSE_LOOK: Final = 0.004
"""Seconds between two looks at what is near its limit, at the least."""

_THREADS_SEEN: Final = 2 * THREADS
"""Threads that a process is ended for having more than. One too many raises in the guest (`guest.threads`), so that as many as these were made
past Python; as many as may run can be seen a moment longer when they end, while their successors start."""

_FILLING: Final = 4 * 1024 * 1024 * 1024
"""Bytes that a process can fill in a second, about: as quickly as the kernel clears pages."""

_ALERT: Final = 1.0
"""Seconds for which the thread goes on looking when there is nothing to see: waking it costs the one who brings something."""

_CPU_CLOCK_OF_PROCESS: Final = 2

_logger: Final = logging.getLogger(__name__)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, all threads together; 0 when it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | _CPU_CLOCK_OF_PROCESS)
    except OSError:
        return 0.0


class Bounds(Struct, frozen=True, kw_only=True):
    """What a process may use from now on: seconds of CPU and wall time, and bytes of memory, all that it holds already included.

    `forks` says that the kernel lets it make others (an import): `look` counts those among its threads.
    """

    cpu: float
    wall: float
    memory: int
    forks: bool = False


class Watch:
    """A process that is ended when it passes its bounds. Made by `Watcher.add`.

    Attributes:
        pid: its number on the host.
        passed: the name of the limit for which it was ended; None until then.
        cpu: with `passed`, its CPU clock when it was ended.
        status: with `passed`, what could be seen of it then.
        ended_at: with `passed`, when that was, on the event loop's clock.
    """

    __slots__ = (
        "_bounds_cpu",
        "_bounds_memory",
        "_bounds_wall",
        "_forks",
        "_look",
        "_over",
        "_pidfd",
        "cpu",
        "due",
        "ended_at",
        "passed",
        "pid",
        "status",
    )

    def __init__(self, pid: int, pidfd: int, bounds: Bounds, look: Callable[[], Status], over: Callable[[], None]) -> None:
        self.passed: str | None = None
        self.status: Status | None = None
        self.ended_at = math.inf
        self.pid = pid
        self._pidfd = pidfd
        self._look = look
        self._over = over
        now = time.monotonic()
        self.cpu = cpu_seconds(pid)
        self._bounds_cpu = self.cpu + bounds.cpu
        self._bounds_wall = now + bounds.wall
        self._bounds_memory = bounds.memory
        self._forks = bounds.forks
        self.due = self._next(now, LOOK)

    def check(self, now: float) -> Callable[[], None] | None:
        """Look at the process, and end it when it has used too much: then return whom to tell."""
        self.due = now + LOOK
        seen, self.cpu = self.cpu, cpu_seconds(self.pid)
        limit = "cpu_limit" if self.cpu >= self._bounds_cpu else "timeout" if now >= self._bounds_wall else None
        soonest = LOOK
        if limit is not None or self.cpu != seen or self._forks:
            try:
                self.status = self._look()
            except OSError:
                return None  # it has ended, and whoever listens to it finds out how
            left = self._bounds_memory - self.status.held
            limit = limit or ("memory_limit" if left < 0 else "thread_limit" if self.status.threads > _THREADS_SEEN else None)
            soonest = max(CLOSE_LOOK, left / _FILLING)
        if limit is None:
            self.due = self._next(now, soonest)
            return None
        return self.end(limit)

    def _next(self, now: float, soonest: float) -> float:
        by_cpu = max(CLOSE_LOOK, (self._bounds_cpu - self.cpu) / min(CPUS, THREADS))
        return min(self._bounds_wall, now + min(by_cpu, soonest, LOOK))

    def end(self, limit: str) -> Callable[[], None] | None:
        """End the process for this limit and return whom to tell; None when it has ended by itself."""
        self.passed, self.ended_at = limit, time.monotonic()
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            self.passed = None  # it ended by itself
            return None
        return self._over


class Watcher:
    """Watches over all processes of one sandbox, from a thread that starts with the first of them.

    Args:
        loop: where those who are to be told live; everything but the thread's own is called from there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._sleeps_until = math.inf
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, pid: int, pidfd: int, bounds: Bounds, look: Callable[[], Status], over: Callable[[], None]) -> Watch:
        """Have a process ended when it passes its bounds.

        Args:
            pid: the process on the host.
            pidfd: its handle; it must stay open until `remove`.
            bounds: what it may use.
            look: returns what can be seen of it from outside; called from the thread. Raises OSError when it is gone.
            over: called once, from the event loop, when it was ended.
        """
        watch = Watch(pid, pidfd, bounds, look, over)
        with self._lock:
            self._watches.add(watch)
            wanted = watch.due < self._sleeps_until
        if wanted:
            self._wake()
        return watch

    def remove(self, watch: Watch) -> None:
        """Look at a process no more: when this returns it is not ended, if it was not before."""
        with self._lock:
            self._watches.discard(watch)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        if self._thread is not None:
            self._bell.set()
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_looking, name="ropewalk-watch", daemon=True)
            self._thread.start()
        self._bell.set()

    def _keep_looking(self) -> None:
        busy_at = time.monotonic()
        while not self._closed:
            with self._lock:
                now = time.monotonic()
                busy_at = now if self._watches else busy_at
                self._look_at_all(now)
                soonest = min((watch.due for watch in self._watches), default=math.inf)
                if now - busy_at < _ALERT:
                    soonest = min(soonest, now + LOOK)
                self._sleeps_until = soonest
            self._bell.wait(None if soonest == math.inf else max(0.0, soonest - time.monotonic()))
            self._bell.clear()

    def _look_at_all(self, now: float) -> None:
        for watch in [watch for watch in self._watches if watch.due <= now]:
            try:
                over = watch.check(now)
            except Exception:
                # What cannot be watched must not run on, and the others must be watched all the same.
                _logger.exception("process %d cannot be watched", watch.pid)
                over = watch.end("unwatched")
            if over is not None:
                self._watches.discard(watch)
                self._loop.call_soon_threadsafe(over)
