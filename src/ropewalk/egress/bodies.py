"""Reading the body of an answer within a bound, decompressed on the way: no more than one piece beyond it is ever held.

Bodies that are read for one instance side by side are bounded together: all of them may be small, one of them may be large.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable
from typing import Final

from ropewalk.errors import NetworkError, ValueTooLarge

SMALL: Final = 1024 * 1024
"""Bytes up to which any number of bodies are read side by side."""

_PIECE: Final = 1024 * 1024
_AUTOMATIC: Final = 32 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"


async def read_body(chunks: AsyncIterable[bytes], encoding: str, limit: int, where: str, turn: asyncio.Lock) -> bytes:
    """Return the whole body, decompressed when `encoding`, the Content-Encoding, is gzip or deflate; otherwise as it came.

    What is beyond `SMALL` bytes is read while this one has the `turn`: of bodies that share it, one at a time is large.

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
    finally:
        body.end_turn()
    return body.whole()


class _Bounded:
    """Pieces that together may have `limit` bytes, and more than `SMALL` in turn only."""

    __slots__ = ("_has_turn", "_left", "_limit", "_pieces", "_turn", "where")

    def __init__(self, limit: int, where: str, turn: asyncio.Lock) -> None:
        self.where = where
        self._pieces: list[bytes] = []
        self._left = self._limit = limit
        self._turn = turn
        self._has_turn = False

    async def add(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise too_large(self.where, self._limit)
        self._pieces.append(piece)
        if not self._has_turn and self._limit - self._left > SMALL:
            self._has_turn = await self._turn.acquire()

    def end_turn(self) -> None:
        if self._has_turn:
            self._turn.release()
            self._has_turn = False

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
