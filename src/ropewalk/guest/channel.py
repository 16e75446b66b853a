"""The attempt's one connection to the host: calls out and answers back, log lines between them, and the last word.

While the method's coroutine is driven by hand, a call is a blocking write and a blocking read. Once there is an event loop (`attach`),
calls are pipelined: each waits for a future of its own, and answers may come in any order. What the host is known to have room for is
waited for by nobody: it goes along with whatever is sent next. When the host goes, the process ends at once, wherever it is: there is
nobody left to tell.

Before: `sdk`, whose `Host` this is. After: `wire.frames`, and the host.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import threading
import typing
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import msgspec

from ropewalk import errors
from ropewalk.errors import InvalidValue, RopewalkError, ValueTooLarge
from ropewalk.sdk.values import plain_of
from ropewalk.wire import messages
from ropewalk.wire.frames import MESSAGE_LIMIT_FROM_GUEST, MESSAGE_LIMIT_FROM_HOST, FrameDecoder, encode_frames
from ropewalk.wire.messages import Answer, AnyCall, Call, Counted, Failure, Log, Start

_READ_SIZE: Final = 64 * 1024
_FIRST_READ_SIZE: Final = 448
"""Enough for most messages, and so little that no large block is asked of the C library, which would tidy its heap for it."""

_OVERHEAD: Final = 96
"""Bytes that a write takes beyond what it writes, or a few more."""


def _plain(value: object) -> object:
    if (plain := plain_of(value)) is not None:
        return plain
    raise TypeError(f"`{type(value).__name__}` is of no use here")


encode_message = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode_start = msgspec.msgpack.Decoder(Start).decode
_decode_reply = typing.cast("Callable[[bytes], Answer | Failure]", msgspec.msgpack.Decoder(Answer | Failure).decode)
_ANSWERS: Final[dict[Any, Callable[[msgspec.Raw], Any]]] = {
    kind: msgspec.msgpack.Decoder(kind.answer).decode for kind in typing.get_args(AnyCall) if kind.answer is not None
}
_CHECKED: Final = frozenset(
    {
        messages.StoreRead,
        messages.StoreWrite,
        messages.StoreDelete,
        messages.StoreClear,
        messages.StoreKeys,
        messages.CallbackCreate,
        messages.CallbackResolve,
        messages.CallbackDelete,
        messages.TaskCancel,
        messages.Commit,
    }
)
"""Calls whose every field the SDK has checked; what authors put into the others is held against the schema before it is sent."""

_MADE_OF_TEXT: Final[Mapping[str, type[Exception]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, RopewalkError) and kind.__init__ is RopewalkError.__init__
} | {"ValueError": ValueError, "TypeError": TypeError}


class Channel:
    """The host's end of the SDK's seam (`sdk.host.Host`), on the socket `fd`.

    Attributes:
        requests: how many requests were made, those that needed no host included.
    """

    __slots__ = (
        "_ahead",
        "_answered_here",
        "_decoder",
        "_fd",
        "_last_id",
        "_limit",
        "_loop",
        "_main_thread",
        "_os_read",
        "_os_write",
        "_outbox",
        "_over",
        "_socket",
        "_waiting",
        "_writing",
        "requests",
    )

    def __init__(
        self, fd: int, read: Callable[[int, int], bytes] = os.read, write: Callable[[int, bytes | memoryview], int] = os.write
    ) -> None:
        self.requests = 0
        self._answered_here = 0
        self._limit = 0
        self._ahead = 0
        self._fd = fd
        self._os_read = read
        self._os_write = write
        self._last_id = 0
        self._decoder = FrameDecoder(MESSAGE_LIMIT_FROM_HOST)
        self._main_thread = threading.get_ident()
        self._outbox: deque[bytes] = deque()
        self._writing = threading.Lock()
        self._over = False
        self._loop: AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._waiting: dict[int, Future[Answer | Failure]] = {}

    # ── What the SDK sees ────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_id(self) -> int:
        """Return the id of the next call."""
        self._last_id += 1
        return self._last_id

    def write_id(self, size: int) -> int:
        """Return the id of a write of so many bytes: 0 when the host has room for it."""
        return 0 if size + _OVERHEAD <= self._ahead else self.next_id()

    def answered_here(self) -> None:
        """Count a request that the host was not needed for."""
        if threading.get_ident() != self._main_thread:
            raise _from_a_thread("get()")
        self.requests += 1
        self._answered_here += 1
        if self.requests > self._limit:
            self._send(self._count())
            while True:
                signal.pause()  # the host ends this process

    async def call(self, message: Call) -> Any:
        """Send a call and return its answer. Raises what the answer says."""
        if threading.get_ident() != self._main_thread:
            raise _from_a_thread(type(message).__name__)
        frames = _frames_of(message)
        self.requests += 1
        if self.requests > self._limit and self._answered_here:
            self._send(self._count())  # with those, this call is one too many to the host too
        self._ahead -= len(frames)
        if not message.id:
            self._take_along(frames)
            return None
        reply = (
            self._exchange(frames, message.id) if self._loop is None else await self._pipelined(frames, message.id, self._loop)
        )
        if isinstance(reply, Failure):
            raise _MADE_OF_TEXT.get(reply.error, RopewalkError)(reply.message)
        reader = _ANSWERS.get(type(message))
        return None if reader is None else reader(reply.value)

    def _take_along(self, frames: bytes) -> None:
        """Have a call that nobody waits for go with whatever is sent next."""
        self._outbox.append(frames)
        if self._loop is not None:
            self._flush()

    def _count(self) -> bytes:
        """Return what tells the host of the requests that it was not needed for since it was last told."""
        count, self._answered_here = self._answered_here, 0
        return encode_frames(encode_message(Counted(requests=count)))

    # ── What the attempt sees ────────────────────────────────────────────────────────────────────────────────────────────────

    def wait_for_start(self) -> Start:
        """Wait for the event that this process is for; end quietly when there will be none."""
        while True:
            for message in self._receive():
                start = _decode_start(message)
                self._limit, self._ahead = start.requests, start.ahead
                return start

    def log(self, line: Log) -> None:
        """Send a log line; from any thread, and of no effect after the last word."""
        if not self._over:
            self._send(encode_frames(encode_message(line)))

    def attach(self, loop: AbstractEventLoop) -> None:
        """From now on have `loop` read the answers."""
        self._flush()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=self._fd)
        self._loop = loop
        loop.add_reader(self._fd, self._take_answers)

    def finish(self, last_word: bytes) -> None:
        """Send Finished or Raised, already encoded."""
        self._over = True
        if self._answered_here:
            self._outbox.append(self._count())
        self._outbox.append(encode_frames(last_word))
        with self._writing:
            self._write_outbox()

    # ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _exchange(self, frames: bytes, number: int) -> Answer | Failure:
        self._send(frames)
        while True:
            for message in self._receive():
                reply = _decode_reply(message)
                if reply.id == number:
                    return reply

    async def _pipelined(self, frames: bytes, number: int, loop: AbstractEventLoop) -> Answer | Failure:
        future: Future[Answer | Failure] = loop.create_future()
        self._waiting[number] = future
        self._send(frames)
        return await future

    def _take_answers(self) -> None:
        """Read what is there and wake who waits for it; nobody waits any more for a call that was cancelled."""
        for message in self._receive():
            reply = _decode_reply(message)
            future = self._waiting.pop(reply.id, None)
            if future is not None and not future.done():
                future.set_result(reply)

    # ── Bytes ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _receive(self) -> Iterable[bytes]:
        data = self._read()
        if not data:
            _leave()
        return self._decoder.feed(data)

    def _send(self, frames: bytes) -> None:
        """Write, after what is to be written before."""
        self._outbox.append(frames)
        self._flush()

    def _flush(self) -> None:
        """Write what is to be written. A thread that comes while another writes leaves it to that one."""
        while self._outbox and self._writing.acquire(blocking=False):
            try:
                self._write_outbox()
            finally:
                self._writing.release()

    def _write_outbox(self) -> None:
        while self._outbox:
            frames = self._outbox.popleft()
            while self._outbox:
                frames += self._outbox.popleft()
            self._write(frames)

    def _read(self) -> bytes:
        try:
            return self._os_read(self._fd, _READ_SIZE if self._decoder.pending else _FIRST_READ_SIZE)
        except ConnectionError:
            _leave()

    def _write(self, frames: bytes) -> None:
        try:
            if self._socket is not None and threading.get_ident() == self._main_thread:
                self._write_and_read(self._socket, memoryview(frames))
                return
            written = self._os_write(self._fd, frames)
            while written < len(frames):
                written += self._os_write(self._fd, memoryview(frames)[written:])
        except ConnectionError:
            _leave()

    def _write_and_read(self, connection: socket.socket, left: memoryview) -> None:
        """Write without blocking, taking answers meanwhile: the host may have much to say before it reads on."""
        while left:
            try:
                left = left[connection.send(left, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._fd, select.POLLIN | select.POLLOUT)
                if poll.poll()[0][1] & ~select.POLLOUT:
                    self._take_answers()


def _from_a_thread(what: str) -> RuntimeError:
    return RuntimeError(
        f"{what} was called from a thread: only the method's own thread may use the twist and its tools; "
        "return what the thread has found and go on where to_thread() is awaited"
    )


def _leave() -> NoReturn:
    """End the process: the host is gone."""
    os._exit(0)


def _frames_of(message: Call) -> bytes:
    """Return a call's frames.

    Raises:
        InvalidValue: a field is not what it has to be; the message names it.
        ValueTooLarge: it is larger than a message may be.
    """
    try:
        encoded = encode_message(message)
        if type(message) not in _CHECKED:
            msgspec.msgpack.decode(encoded, type=type(message))
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"{type(message).__name__}: {error.object[:60]!r} has lone surrogates, which UTF-8 cannot say"
        ) from None
    except (msgspec.ValidationError, OverflowError, TypeError) as error:
        raise InvalidValue(_by_name(str(error), message)) from None
    if len(encoded) > MESSAGE_LIMIT_FROM_GUEST:
        raise ValueTooLarge(
            f"{type(message).__name__} would take {len(encoded):,} bytes and may take {MESSAGE_LIMIT_FROM_GUEST:,}: split it into several calls"
        )
    return encode_frames(encoded)


def _by_name(problem: str, message: Call) -> str:
    """Return what msgspec says of a message with its fields by name: they travel by place, after the tag."""
    names = type(message).__struct_fields__
    return re.sub(r"`\$\[(\d+)\]", lambda place: f"`{names[int(place[1]) - 1]}", problem)
