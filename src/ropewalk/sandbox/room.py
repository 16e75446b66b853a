"""How much of the node's memory and descriptors is given out, and who waits for some.

Nothing is promised twice. A process that was taken may fill its limit, so all of that is set aside for it until it has ended; a zygote may
take what its import may while that lasts, and then keeps what it took; every process costs `PROCESS` besides. As long as the sum stays within
the node's memory, none has to be ended for another's sake, and neither the swap nor the kernel's killer is needed.

Who finds no room waits, in the order of arrival: one that needs much is not overtaken for ever by those that need little. When nothing is
given out the first is let in whatever it needs, since waiting would not help it.

Before: `source`, which lets go of what is kept for later before it lets somebody wait. After: the processes that it takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from ropewalk.sandbox.interface import Figures

PROCESS: Final = 2 * 1024 * 1024
"""Bytes that a process takes beyond what its limit counts, as long as it only waits: the pages and page tables that are its own."""

DESCRIPTORS: Final = 3
"""Descriptors of the node's that a process takes: its connection, its handle, its /proc/PID/status."""


class Room:
    """The node's memory and descriptors.

    Args:
        memory: bytes for everything in the sandbox.
        descriptors: how many files the node may have open; half of them are for processes.
        kept: returns the bytes that are taken by what nobody has taken, zygotes and waiting processes.

    Attributes:
        memory: bytes in all.
    """

    def __init__(self, memory: int, descriptors: int, kept: Callable[[], int]) -> None:
        self.memory = memory
        self._most = max(1, descriptors // 2 // DESCRIPTORS)
        self._kept = kept
        self._taken = 0
        self._count = 0
        self._looking = False
        self._queue: deque[tuple[Callable[[], bool], int, asyncio.Future[None]]] = deque()

    @property
    def figures(self) -> Figures:
        """What there is and what is given out."""
        return Figures(memory=self.memory, taken=self._taken + self._kept(), waiting=len(self._queue))

    @property
    def crowded(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    def has(self, amount: int, *, letting_go: int = 0, beside: int = 0) -> bool:
        """Whether that much is free, once `letting_go` of what is kept has been let go of, for a process beside so many that wait."""
        return self._count + beside < self._most and self._taken + self._kept() - letting_go + amount <= self.memory

    def fits(self, amount: int, *, letting_go: int = 0) -> bool:
        """Whether one that needs that much may come in now, if it is its turn."""
        return self._count == 0 or self.has(amount, letting_go=letting_go)

    def take(self, amount: int) -> None:
        """Set bytes aside for one more process."""
        self._taken += amount
        self._count += 1

    def give_back(self, amount: int) -> None:
        """Let others have what was taken."""
        self._taken -= amount
        self._count -= 1
        self.look_soon()

    async def wait(self, amount: int, may_enter: Callable[[], bool]) -> None:
        """Take bytes as soon as it is one's turn and `may_enter` holds."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((may_enter, amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(amount)
            else:
                self.look_soon()  # whoever is next may need less
            raise

    def look_soon(self) -> None:
        """Let in whoever's turn it is, when what is being done is done: there may be room now."""
        if self._queue and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Let in whoever's turn it is. One at a time: what it has to have imported counts when the next is looked at."""
        self._looking = False
        while self._queue and self._queue[0][2].done():
            self._queue.popleft()
        if not self._queue:
            return
        may_enter, amount, turn = self._queue[0]
        if may_enter():
            self._queue.popleft()
            self.take(amount)
            turn.set_result(None)
            self.look_soon()
