"""Framing: msgpack messages, cut into length-prefixed frames, on a stream socket.

A frame is a 32-bit big-endian header and a body. The header's top bit says that more frames of the same message follow; the other
31 bits are the body's length, at most `FRAME_LIMIT`. A message is the bodies of its frames, put together.

Both sides check a length before they allocate for it. `FrameDecoder` never holds more than the message limit it was made with, plus
one read. Before: `messages` gives the bytes. After: the socket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

FRAME_LIMIT: Final = 8 * 1024 * 1024
"""Most bytes in the body of one frame."""

MESSAGE_LIMIT_FROM_GUEST: Final = 16 * 1024 * 1024
"""Most bytes in one message that a guest sends; also the most that one guest may have in flight."""

MESSAGE_LIMIT_FROM_HOST: Final = 48 * 1024 * 1024
"""Most bytes in one message that the host sends: a 32 MiB response body with room for its envelope."""

_HEADER: Final = struct.Struct("!I")
_MORE: Final = 0x8000_0000


class FrameError(Exception):
    """The peer sent what is no frame, or a message larger than it may: the connection is of no further use."""


def encode_frames(message: bytes) -> bytes:
    """Return `message` as one or more frames, ready to be written."""
    if len(message) <= FRAME_LIMIT:
        return _HEADER.pack(len(message)) + message
    pieces: list[bytes] = []
    for start in range(0, len(message), FRAME_LIMIT):
        body = message[start : start + FRAME_LIMIT]
        more = _MORE if start + FRAME_LIMIT < len(message) else 0
        pieces += (_HEADER.pack(len(body) | more), body)
    return b"".join(pieces)


class FrameDecoder:
    """Turns the bytes of a stream back into messages.

    Args:
        message_limit: most bytes that one message may have; a header that would pass it raises before anything is kept of it.
    """

    __slots__ = ("_buffer", "_limit", "_message", "_whole")

    def __init__(self, message_limit: int) -> None:
        self._buffer = bytearray()
        self._message = bytearray()
        self._limit = message_limit
        self._whole = min(FRAME_LIMIT, message_limit)

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Take what was read and give each message that is now whole.

        Raises:
            FrameError: a frame or message is larger than its limit, or an unfinished message has an empty frame.
        """
        length = len(data) - _HEADER.size
        if not self._buffer and not self._message and length == int.from_bytes(data[: _HEADER.size]) <= self._whole:
            return (data[_HEADER.size :],)  # one whole message, as nearly always
        return self._feed(data)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _HEADER.size:
                (header,) = _HEADER.unpack_from(buffer, start)
                length = header & ~_MORE
                if length > FRAME_LIMIT:
                    raise FrameError(f"a frame of {length:,} bytes is over the limit of {FRAME_LIMIT:,}")
                if len(self._message) + length > self._limit:
                    raise FrameError(
                        f"a message of {len(self._message) + length:,} bytes or more is over the limit of {self._limit:,}"
                    )
                if header & _MORE and not length:
                    raise FrameError("an empty frame cannot be continued")
                end = start + _HEADER.size + length
                if len(buffer) < end:
                    break
                body = bytes(memoryview(buffer)[start + _HEADER.size : end])
                start = end
                if header & _MORE:
                    self._message += body
                elif self._message:
                    self._message += body
                    whole = bytes(self._message)
                    self._message.clear()
                    yield whole
                else:
                    yield body
        finally:
            del buffer[:start]

    @property
    def pending(self) -> int:
        """Bytes held of a message that is not whole yet."""
        return len(self._buffer) + len(self._message)
