"""Reading the body of an answer within a bound, decompressed on the way: no more than one piece beyond it is ever held."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable
from typing import Final

from ropewalk.errors import NetworkError, ValueTooLarge

_PIECE: Final = 1024 * 1024
_AUTOMATIC: Final = 32 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"


async def read_body(chunks: AsyncIterable[bytes], encoding: str, limit: int, where: str) -> bytes:
    """Return the whole body, decompressed when `encoding`, the Content-Encoding, is gzip or deflate; otherwise as it came.

    Raises:
        ValueTooLarge: it has more than `limit` bytes, decompressed.
        NetworkError: it is not compressed as the header says, or ends too early.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        body = _Bounded(limit, where)
        async for chunk in chunks:
            body.add(chunk)
        return body.whole()
    try:
        return await _inflate(chunks, limit, where)
    except zlib.error as error:
        raise NetworkError(f"the body of {where} is not compressed as its Content-Encoding {encoding!r} says: {error}") from None


class _Bounded:
    """Pieces that together may have `limit` bytes."""

    __slots__ = ("_left", "_limit", "_pieces", "_where")

    def __init__(self, limit: int, where: str) -> None:
        self._pieces: list[bytes] = []
        self._left = self._limit = limit
        self._where = where

    def add(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise too_large(self._where, self._limit)
        self._pieces.append(piece)

    def whole(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def too_large(where: str, limit: int) -> ValueTooLarge:
    """Return the error for a body beyond the limit."""
    return ValueTooLarge(
        f"the body of {where} has more than {limit:,} bytes, which is the limit: ask for a page or a range of it"
    )


async def _inflate(chunks: AsyncIterable[bytes], limit: int, where: str) -> bytes:
    body = _Bounded(limit, where)
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
            body.add(piece)
            rest = engine.unused_data if engine.eof else engine.unconsumed_tail
            more = bool(rest) or len(piece) == _PIECE
            if len(piece) == _PIECE:
                await asyncio.sleep(0)
    if engine is not None and not engine.eof:
        raise NetworkError(f"the body of {where} ended in the middle of its compressed data")
    return body.whole()


def _window(start: bytes) -> int:
    """Return how zlib is to read the stream: some servers say `deflate` and send it without zlib's own header (RFC 9110, 8.4.1.2)."""
    if start.startswith(_GZIP_MAGIC[:1]):
        return _AUTOMATIC
    well_formed = len(start) > 1 and start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
    return _AUTOMATIC if well_formed else _RAW
