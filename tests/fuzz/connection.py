"""What a guest may write to its connection, to the host's real end of it: frames whole, cut, split, garbled, oversized and interleaved.

What comes of it is held against a second, slow reading of the protocol: exactly the messages before the first thing that is none are heard, and
then the process is ended for that reason, and for no other. Nothing is raised into the event loop.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from ropewalk.sandbox.interface import Ended, Limits
from ropewalk.sandbox.processes import ForkedProcess
from ropewalk.wire.frames import FRAME_LIMIT, MESSAGE_LIMIT_FROM_GUEST
from ropewalk.wire.messages import Answer, Finished, GuestMessage, Raised
from tests.fuzz.choices import Choices
from tests.fuzz.messages import SPOKEN, Tongue, packed
from tests.fuzz.stand import Stand

MORE: Final = 0x8000_0000
FOREVER: Final = Limits(cpu=1e6, wall=1e6)
PROTOCOL: Final = Ended(signal=signal.SIGKILL, limit="protocol")
PATIENCE: Final = 10.0
"""Seconds for which a connection may make no progress, on however busy a machine."""

_decode: Final = msgspec.msgpack.Decoder(GuestMessage).decode
_START: Final = Answer(id=0, value=msgspec.Raw(b"\xc0"))
_PIECE: Final = 64 * 1024


class Host:
    """Takes connections, in an event loop that goes round when it is told to, and into which nothing may be raised."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._raised)
        self._errors: list[str] = []
        self._stand = Stand(self._loop)

    def close(self) -> None:
        """Let go of everything."""
        self._stand.close()
        self._loop.close()

    def _raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def turn(self) -> None:
        """Let the event loop go round once."""
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()
        assert self._errors == []

    @contextmanager
    def connection(self) -> Iterator[Line]:
        """A process that is started and listened to, and the guest's end of its connection."""
        with self._stand.process() as (process, theirs):
            yield Line(process, theirs, self.turn)
        self.turn()


class Line:
    """A connection as the guest has it, and what the host heard on it."""

    def __init__(self, process: ForkedProcess, theirs: socket.socket, turn: Callable[[], None]) -> None:
        self.process = process
        self.heard: list[GuestMessage] = []
        self.ends: list[Ended] = []
        self._theirs = theirs
        self._turn = turn
        process.listen(self.heard.append, self.ends.append)
        process.start(_START, FOREVER)

    def write(self, data: bytes) -> None:
        """Write all of it, for as long as the host has its end open."""
        left = memoryview(data)
        while left and not self.ends:
            try:
                left = left[self._theirs.send(left[:_PIECE]) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                return
            self._turn()

    def hang_up(self) -> Ended:
        """Say no more, and return how the process was ended."""
        self._theirs.close()
        give_up_at = time.monotonic() + PATIENCE
        while not self.ends:
            assert time.monotonic() < give_up_at, "the end of a connection was not noticed"
            self._turn()
        (ended,) = self.ends
        return ended


def reading(stream: bytes) -> tuple[list[GuestMessage], Ended]:
    """Return the messages of a whole stream, and how it has to end: by the letter of docs/wire.md, without regard for speed."""
    heard: list[GuestMessage] = []
    message, at = b"", 0
    while at + 4 <= len(stream):
        header = int.from_bytes(stream[at : at + 4])
        more, length = bool(header & MORE), header & ~MORE
        if length > FRAME_LIMIT or len(message) + length > MESSAGE_LIMIT_FROM_GUEST or (more and not length):
            return heard, PROTOCOL
        if at + 4 + length > len(stream):
            break
        message, at = message + stream[at + 4 : at + 4 + length], at + 4 + length
        if more:
            continue
        try:
            heard.append(_decode(message))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return heard, PROTOCOL
        if isinstance(heard[-1], Finished | Raised):
            return heard, Ended(code=0)
        message = b""
    return heard, Ended(code=0)


def garbled(choices: Choices, body: bytes) -> bytes:
    """Return frames that may hold a message, and may not."""
    match choices.number(24):
        case 0:
            at = choices.number(len(body))
            body = body[:at] + choices.raw(1) + body[at + 1 :]
        case 1:
            body = body[: choices.number(len(body))]
        case 2:
            body += choices.raw(choices.number(8))
        case 3:
            body = choices.pick([b"\x91", b"\x81\xa1a", b"\xdc\xff\xff", b"\xc9\xff\xff\xff\xff"]) * choices.pick(
                [1, 100, 100_000]
            )
        case 4:
            return choices.pick([b"", *_HEADERS]) + choices.raw(choices.number(32))
        case 5 | 6 | 7 | 8:
            return b"".join(_split(choices, body))
        case 9:
            deep = choices.pick([b"\x91", b"\x81\xa1a"]) * choices.pick([10, 100_000]) + b"\xc0"
            body = (
                bytes([min(body[0] + 1, 0x9F)]) + body[1:] + deep
            )  # one element more than is known: those of newer guests are passed over
        case 10:
            return len(body).to_bytes(4) + body[: choices.number(len(body))]
        case _:
            pass
    return len(body).to_bytes(4) + body


_HEADERS: Final = [
    header.to_bytes(4) for header in (0, 1, MORE, FRAME_LIMIT, FRAME_LIMIT + 1, MORE | FRAME_LIMIT, MORE - 1, 2 * MORE - 1)
]


def _split(choices: Choices, body: bytes) -> Iterator[bytes]:
    """Yield a message in frames of any size."""
    while choices.more and len(body) > 1 and not choices.once_in(4):
        at = 1 + choices.number(len(body) - 1)
        yield (MORE | at).to_bytes(4) + body[:at]
        body = body[at:]
    yield len(body).to_bytes(4) + body


def run(host: Host, data: bytes) -> None:
    """Say what `data` decides, in pieces as it decides, and see that it was heard as it should be."""
    choices = Choices(data)
    if choices.once_in(4):
        pieces = [choices.rest()]
    else:
        tongue = Tongue(choices, [])
        pieces = [garbled(choices, packed(tongue.message(SPOKEN)))]
        while choices.more and len(pieces) < 40:
            pieces.append(garbled(choices, packed(tongue.message(SPOKEN))))
    stream = b"".join(pieces)
    cuts = sorted(choices.number(len(stream) + 1) for _ in range(len(data) % 5))
    with host.connection() as line:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            line.write(stream[start:end])
        ended = line.hang_up()
    heard, how = reading(stream)
    assert packed_all(line.heard) == packed_all(heard)
    assert ended == how


def packed_all(messages: list[GuestMessage]) -> list[bytes]:
    """Return messages in a form in which a NaN equals itself."""
    return [packed(message) for message in messages]
