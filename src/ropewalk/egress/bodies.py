"""Reading the body of an answer within a bound, decompressed on the way: no more than one piece beyond it is ever held.

Bodies that are read for one instance side by side are bounded together: all of them may be small, one of them may be large.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final

from ropewalk.errors import NetworkError, ValueTooLarge

SMALL: Final = 512 * 1024
"""Bytes up to which bodies are read side by side: twenty of them, and a large one, are less than may be kept for a guest that is to read them."""

_PIECE: Final = 1024 * 1024
_AUTOMATIC: Final = 32 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"


class Turn:
    """Which of the tasks that read bodies for one guest may have a large one: one at a time, from its first large byte until it says `end`.

    Args:
        taken: waits until the guest has taken all that it was sent.
    """

    __slots__ = ("_holder", "_lock", "_taken")

    def __init__(self, taken: Callable[[], Awaitable[None]] | None = None) -> None:
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        self._taken = taken

    async def take(self) -> None:
        """Wait until it is the running task's turn, and nothing that is large is on its way to the guest."""
        task = asyncio.current_task()
        if self._holder is task:
            return
        await self._lock.acquire()
        self._holder = task
        if self._taken is not None:
            await self._taken()

    def end(self) -> None:
        """End the running task's turn, if it had one: its body has been sent on, or given up."""
        if self._holder is not None and self._holder is asyncio.current_task():
            self._holder = None
            self._lock.release()


async def read_body(chunks: AsyncIterable[bytes], encoding: str, limit: int, where: str, turn: Turn) -> bytes:
    """Return the whole body, decompressed when `encoding`, the Content-Encoding, is gzip or deflate; otherwise as it came.

    What is beyond `SMALL` bytes is read in its `turn`, which the caller ends when it is done with the body.

    Raises:
        ValueTooLarge: it has more than `limit` bytes, decompressed.
        NetworkError: it is not compressed as the header says, or ends too early.
    """
    body = _Bounded(limit, where, turn)
    try:
        if encoding.strip().lower() in ("gzip", "x-gzip", "deflate"):
            await _inflate(chunks, body)
        else:
            async for chunk in chunks:
                await body.add(chunk)
    except zlib.error as error:
        raise NetworkError(f"the body of {where} is not compressed as its Content-Encoding {encoding!r} says: {error}") from None
    return body.whole()


class _Bounded:
    """Pieces that together may have `limit` bytes, and more than `SMALL` in turn only."""

    __slots__ = ("_left", "_limit", "_pieces", "_turn", "where")

    def __init__(self, limit: int, where: str, turn: Turn) -> None:
        self.where = where
        self._pieces: list[bytes] = []
        self._left = self._limit = limit
        self._turn = turn

    async def add(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise too_large(self.where, self._limit)
        self._pieces.append(piece)
        if self._limit - self._left > SMALL:
            await self._turn.take()

    def whole(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def too_large(where: str, limit: int) -> ValueTooLarge:
    """Return the error for a body beyond the limit."""
    return ValueTooLarge(
        f"the body of {where} has more than {limit:,} bytes, which is the limit: ask for a page or a range of it"
    )


async def _inflate(chunks: AsyncIterable[bytes], body: _Bounded) -> None:
    engine = None
    async for chunk in chunks:
        if engine is None:
            engine = zlib.decompressobj(_window(chunk))
        rest = chunk
        more = bool(chunk)
        while more:
            if engine.eof:
                if not rest.startswith(_GZIP_MAGIC):
                    break  # what follows the last member is padding
                engine = zlib.decompressobj(_AUTOMATIC)
            piece = engine.decompress(rest, _PIECE)
            await body.add(piece)
            rest = engine.unused_data if engine.eof else engine.unconsumed_tail
            more = bool(rest) or len(piece) == _PIECE
            if len(piece) == _PIECE:
                await asyncio.sleep(0)
    if engine is not None and not engine.eof:
        raise NetworkError(f"the body of {body.where} ended in the middle of its compressed data")


def _window(start: bytes) -> int:
    """Return how zlib is to read the stream: some servers say `deflate` and send it without zlib's own header (RFC 9110, 8.4.1.2)."""
    if start.startswith(_GZIP_MAGIC[:1]):
        return _AUTOMATIC
    well_formed = len(start) > 1 and start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
    return _AUTOMATIC if well_formed else _RAW
