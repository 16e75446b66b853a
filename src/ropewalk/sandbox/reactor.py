"""Readiness, deadlines and limits of many short-lived processes, beside the event loop that does the same for everything else.

An event loop's reader or timer costs tens of microseconds to add, run and remove; a process that lives for a millisecond needs several. Here
they are an entry of an epoll set and one of a heap: the loop sees one descriptor and one timer for all of them.

Before: asyncio. After: `zygotes` and `processes`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import select
from collections.abc import Callable
from typing import Final

from ropewalk.sandbox.watch import Watcher

_MOST_EVENTS: Final = 64
"""Most descriptors that are served before the loop has its turn."""

_CANCELLED_KEPT: Final = 1000

Callback = Callable[[], object]


class Deadline:
    """A callback that is due at a time, until it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback


class Reactor:
    """Calls back when descriptors can be read and when times come, from within the event loop `loop`.

    Attributes:
        loop: the event loop.
        watcher: ends processes that use more than they may, and then calls back in the same way.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.watcher = Watcher(loop)
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._deadlines: list[tuple[float, int, Deadline]] = []
        self._cancelled = 0
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self._epoll.fileno(), self._serve)

    def close(self) -> None:
        """Call nobody back any more."""
        self.watcher.close()
        self._readers.clear()
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    @property
    def pending(self) -> int:
        """How many deadlines are kept, cancelled ones that have not been let go of included."""
        return len(self._deadlines)

    # ── Readiness ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def watch(self, fd: int, callback: Callback) -> None:
        """Call `callback` for as long as `fd` can be read, in place of what was called for it before."""
        if fd not in self._readers:
            self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop calling back for `fd`; before it is closed."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _serve(self) -> None:
        readers = self._readers
        for fd, _ in self._epoll.poll(0, _MOST_EVENTS):
            callback = readers.get(fd)
            if callback is not None:  # an earlier callback may have forgotten it
                callback()

    # ── Deadlines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def call_later(self, seconds: float, callback: Callback) -> Deadline:
        """Call `callback` in so many seconds."""
        return self.call_at(self.loop.time() + seconds, callback)

    def call_at(self, when: float, callback: Callback) -> Deadline:
        """Call `callback` at a time of the loop's clock."""
        deadline = Deadline(callback)
        heapq.heappush(self._deadlines, (when, next(self._numbers), deadline))
        if self._timer is None or when < self._timer.when():
            self._arm()
        return deadline

    def cancel(self, deadline: Deadline) -> None:
        """Do not call back after all; of no effect when that is done."""
        if deadline.callback is None:
            return
        deadline.callback = None
        self._cancelled += 1
        if self._cancelled > _CANCELLED_KEPT and self._cancelled > len(self._deadlines) // 2:
            self._deadlines = [entry for entry in self._deadlines if entry[2].callback is not None]
            heapq.heapify(self._deadlines)
            self._cancelled = 0

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._deadlines and self._deadlines[0][2].callback is None:
            heapq.heappop(self._deadlines)
            self._cancelled -= 1
        if self._deadlines:
            self._timer = self.loop.call_at(self._deadlines[0][0], self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self.loop.time()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, deadline = heapq.heappop(self._deadlines)
            callback, deadline.callback = deadline.callback, None
            if callback is None:
                self._cancelled -= 1
            else:
                callback()
        if self._timer is None:
            self._arm()
