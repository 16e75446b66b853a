"""Waiting for an execution, whichever node runs it: for its result, or for what it commits.

One that this node settles is told of at once (`tell`); of others the database is asked, less and less often. Who waits holds nothing but a
future, so that many can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ropewalk.clock import Clock

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.05


class Stopped(Exception):
    """The node stops: nobody is waited for any more."""


class Watch:
    """Those who wait in this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._stopping = False

    async def until(self, execution: str, look: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
        """Return what `look` finds, asked now and whenever the execution may have gone on; None when it found nothing in time.

        Raises:
            Stopped: the node stops.
        """
        deadline = self._clock.boottime() + seconds
        pause = _FIRST_PAUSE
        while (found := await look()) is None:
            left = deadline - self._clock.boottime()
            if self._stopping:
                raise Stopped
            if left <= 0:
                return None
            await self._nap(execution, min(pause, left))
            pause = min(_LONGEST_PAUSE, pause * 1.5)
        return found

    def tell(self, execution: str) -> None:
        """Have those look now who wait for this execution."""
        for future in self._waiting.get(execution, ()):
            _wake(future)

    def stop(self) -> None:
        """Wait for nobody any more."""
        self._stopping = True
        for execution in self._waiting:
            self.tell(execution)

    async def _nap(self, execution: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        waiting = self._waiting.setdefault(execution, [])
        waiting.append(future)
        timer = loop.call_later(seconds, _wake, future)
        try:
            await future
        finally:
            timer.cancel()
            waiting.remove(future)
            if not waiting:
                self._waiting.pop(execution, None)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
