"""What an attempt's connection carries, taken down as it comes: the bytes of each message, both ways, with the host's time; and what passes
its door.

This is on the way of every message: nothing is decoded or copied here, the bytes are those that were read or sent. Log lines are left out,
since the log has them. Before: the process, which is listened to. After: `recorder`, which makes a record of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ropewalk.clock import Micros
from ropewalk.egress.sent import Sent
from ropewalk.recording.exchanges import BytesHeaders, Exchange, Taking

_LOG: Final = b"\xa3log"
"""How a log line begins, after the byte that says how many elements it has."""


class Tape:
    """The messages of one attempt, up to a number of bytes; from the first that does not fit nothing more is kept.

    Args:
        now: the host's wall time.
        limit: bytes.

    Attributes:
        messages: what was said, the first of it Start.
        times: when, in the same order.
        missing: how many messages, and exchanges of the door, did not fit.
        sent: the HTTP requests that left, and `unlisted` how many more there were; whoever sends them says so.
    """

    __slots__ = ("_left", "_now", "_takings", "messages", "missing", "sent", "times", "unlisted")

    def __init__(self, now: Callable[[], Micros], limit: int) -> None:
        self.messages: list[bytes] = []
        self.times: list[Micros] = []
        self.missing = 0
        self.sent: list[Sent] = []
        self.unlisted = 0
        self._now = now
        self._left = limit
        self._takings: list[Taking] = []

    def take(self, message: bytes) -> None:
        """Take a message down, of either side."""
        if message[1:5] == _LOG:
            return
        self._left -= len(message)
        if self._left < 0:
            self.missing += 1
            return
        self.messages.append(message)
        self.times.append(self._now())

    def exchange(self, method: str, url: str, headers: BytesHeaders) -> Taking:
        """Return what an exchange of the door is taken down on."""
        taking = Taking(self._has_room, self._miss, method, url, headers)
        self._takings.append(taking)
        return taking

    @property
    def exchanges(self) -> list[Exchange]:
        """The exchanges that fit, in the order in which they began."""
        return [taken for taking in self._takings if (taken := taking.taken) is not None]

    def _has_room(self, count: int) -> bool:
        self._left -= count
        return self._left >= 0

    def _miss(self) -> None:
        self.missing += 1
