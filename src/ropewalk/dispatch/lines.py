"""The log lines of one attempt: bounded, freed of secrets, and stored while it runs.

A guest says when a line was written and how grave it is; both are brought within what can be. Lines are stored a moment after the first of
them has come, so that they can be followed, and what is left goes with the settlement. Before: `attempt`, which is told each line. After: storage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from ropewalk.clock import Clock
from ropewalk.storage.interface import StorageError
from ropewalk.storage.records import LogLine
from ropewalk.vault.redaction import Redactor
from ropewalk.wire.messages import Json, Log

FLUSH = 0.2
"""Seconds from a line until it, and what has come since, is stored."""

_OVERHEAD = 32
"""Bytes that each line counts beside its text."""

_BEYOND = 1000
"""Lines that a guest may still send when no more are kept: those that its threads were writing. One that goes on floods the host."""


class Flooded(Exception):
    """The guest went on long after no more of its lines were kept."""


class Lines:
    """What an attempt has written and is not stored yet.

    Args:
        limit: bytes that an attempt may write.
        attempt: its number.
        clock: what time it is.
        redactor: hides the instance's secrets; None where it has none.
        store: stores lines.
    """

    def __init__(
        self, limit: int, attempt: int, clock: Clock, redactor: Redactor | None, store: Callable[[list[LogLine]], Awaitable[None]]
    ) -> None:
        self._limit = limit
        self._attempt = attempt
        self._clock = clock
        self._redactor = redactor
        self._store = store
        self._since = clock.now()
        self._kept: list[LogLine] = []
        self._bytes = 0
        self._beyond = 0
        self._timer: asyncio.TimerHandle | None = None
        self._storing: asyncio.Task[None] | None = None

    def add(self, message: Log) -> None:
        """Keep a line of the guest's, as far as it may write any.

        Raises:
            Flooded: it has been told, by the last line that was kept, and goes on.
        """
        left = self._limit - self._bytes
        if left < 0:
            self._beyond += 1
            if self._beyond > _BEYOND:
                raise Flooded(f"it went on writing log lines after {self._limit:,} bytes, which is the limit")
            return
        text, fields = message.message, message.fields
        if self._redactor is not None:
            text, fields = self._redactor.hide(text), _hidden(self._redactor, fields)
        self._bytes += _bytes_in(text) + len(fields or b"") + _OVERHEAD
        if self._bytes <= self._limit:
            self._keep(message.time, message.level, text, fields)
            return
        if kept := _first_bytes(text, left - _OVERHEAD):
            self._keep(message.time, message.level, kept, None)
        cut = f"logs are cut here: an execution may write {self._limit:,} bytes"
        self._keep(message.time, logging.WARNING, cut, None)

    def warn(self, text: str) -> None:
        """Keep a line of the host's own, which may name a URL that the guest made up; no more of them than of the guest's."""
        text = text if self._redactor is None else self._redactor.hide(text)
        self._bytes += _bytes_in(text) + _OVERHEAD
        if self._bytes <= self._limit:
            self._keep(self._clock.now(), logging.WARNING, text, None)

    def take(self) -> list[LogLine]:
        """Return the lines that are not stored yet, once."""
        lines, self._kept = self._kept, []
        return lines

    def put_back(self, lines: list[LogLine]) -> None:
        """Have lines that were taken, and then not stored, go with those that come."""
        self._kept = lines + self._kept

    async def close(self) -> None:
        """Store nothing more by itself, and wait for what is being stored."""
        if self._timer is not None:
            self._timer.cancel()
        if self._storing is not None:
            await asyncio.gather(self._storing, return_exceptions=True)

    def _keep(self, time: int, level: int, text: str, fields: Json | None) -> None:
        line = LogLine(
            time=min(max(time, self._since), self._clock.now()),
            level=min(max(level, 0), 100),
            message=text,
            attempt=self._attempt,
            fields=fields if fields is not None and _is_json(fields) else None,
        )
        self._kept.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_kept())

    async def _store_kept(self) -> None:
        lines = self.take()
        try:
            await self._store(lines)
        except StorageError:
            self.put_back(lines)  # they go with the settlement


def _is_json(fields: Json) -> bool:
    try:
        msgspec.json.decode(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _hidden(redactor: Redactor, fields: Json | None) -> Json | None:
    """Return a line's fields without secrets; none when they are no JSON."""
    if fields is None:
        return None
    try:
        return redactor.hide_json(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _bytes_in(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _first_bytes(text: str, count: int) -> str:
    """Return what of a text fits into so many bytes."""
    return text.encode()[: max(0, count)].decode(errors="ignore")
