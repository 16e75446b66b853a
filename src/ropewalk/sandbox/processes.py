"""One attempt's process, seen from the host: its connection, its limits, its end.

A `ForkedProcess` has been verified and waits; then it is listened to and started; then it is ended, once. What the guest says is read
from the event loop and handed on at once. While it runs it is watched (`watch`), and looked at once more when it has had its last word: what
it used too much of is too much also when it was over before anybody looked.

Before: `zygotes`, which forks and verifies. After: the dispatcher, which listens.
"""

from __future__ import annotations

import asyncio
import math
import os
import resource
import signal
import socket
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol

import msgspec

from ropewalk.sandbox.inspection import Descriptors, Status, read_status
from ropewalk.sandbox.interface import Ended, Limits, OnConnection, OnEnd, OnMessage, ProcessUsage, Tap
from ropewalk.sandbox.reactor import Reactor
from ropewalk.sandbox.watch import Bounds, Watch, cpu_seconds
from ropewalk.wire.bounds import LARGE, decode_large
from ropewalk.wire.control import Exit
from ropewalk.wire.frames import MESSAGE_LIMIT_FROM_GUEST, MESSAGE_LIMIT_FROM_HOST, FrameDecoder, FrameError, encode_frames
from ropewalk.wire.messages import Finished, GuestMessage, Log, Raised
from ropewalk.wire.replay import ReplayedMessage, ReplayingHostMessage

READ_SIZE: Final = 64 * 1024
"""Most bytes read from one guest before others have their turn."""

WAITING_CPU: Final = 1.0
"""Seconds of CPU that a process may use before its event comes: getting ready takes milliseconds."""

LINGER: Final = 0.0015
"""Seconds from a process's last word to its end. Ending it holds up what it did being settled, and nobody waits for it."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(GuestMessage).decode
_decode_replayed: Final[Callable[[bytes], Any]] = msgspec.msgpack.Decoder(ReplayedMessage).decode


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """A verified process: its connection, its handle and open /proc/PID/status, and what that said while it waited. Whether it `replays`."""

    pid: int
    pidfd: int
    status_fd: int
    status: Status
    connection: socket.socket
    replays: bool = False


class Registry(Protocol):
    """Where a process is known while it lives; what `zygotes` is to it."""

    def left(self, process: ForkedProcess) -> None:
        """The process is over, whoever had it."""
        ...

    def autopsy(self, pid: int, done: Callable[[Exit | None], None]) -> None:
        """Find out how a process that has ended (by its number inside) did, and say so; None when it can't be known."""
        ...


class _State(Enum):
    WAITING = 1
    RUNNING = 2
    DYING = 3
    OVER = 4


class ForkedProcess:
    """One pristine process; see `interface.Process`."""

    def __init__(self, reactor: Reactor, birth: Birth, registry: Registry) -> None:
        self._reactor = reactor
        self._loop = reactor.loop
        self._birth = birth
        self._registry = registry
        self._connection = birth.connection
        self._fd = birth.connection.fileno()
        self._state = _State.WAITING
        self._frames = FrameDecoder(MESSAGE_LIMIT_FROM_GUEST)
        self._outgoing = bytearray()
        self._taken: asyncio.Future[None] | None = None
        self._on_message: OnMessage | None = None
        self._on_end: OnEnd | None = None
        self._tap: Tap | None = None
        self._ended: Ended | None = None
        self._watch: Watch | None = None
        self._limits: Limits | None = None
        self._cpu_before = 0.0
        self._began = math.inf
        self._usage: ProcessUsage | None = None
        self._paused = False
        self._on_connection: OnConnection | None = None
        self._on_left: Callable[[], None] | None = None
        self._decode: Callable[[bytes], Any] = _decode_replayed if birth.replays else _decode
        reactor.watch(self._fd, self._read)

    @property
    def pid(self) -> int:
        """Its number on the host."""
        return self._birth.pid

    @property
    def inner_pid(self) -> int:
        """Its number inside the sandbox."""
        return self._birth.status.pid

    @property
    def over(self) -> bool:
        """Whether it has ended, or said what it may not while it waited."""
        return self._state in (_State.DYING, _State.OVER)

    def does_more_than_wait(self, memory: int) -> bool:
        """Whether it computes, or has taken more than `memory` bytes, though its event has not come."""
        try:
            return cpu_seconds(self.pid) > WAITING_CPU or self._look().held - self._birth.status.held > memory
        except OSError:
            return False  # it has ended: the connection says so

    def listen(self, on_message: OnMessage, on_end: OnEnd, tap: Tap | None = None) -> None:
        """See `Process.listen`."""
        self._on_message, self._on_end, self._tap = on_message, on_end, tap
        if self._ended is not None:
            self._loop.call_soon(on_end, self._ended)

    def welcome(self, on_connection: OnConnection) -> None:
        """See `Process.welcome`."""
        self._on_connection = on_connection

    @property
    def is_welcome(self) -> bool:
        """Whether it runs, and somebody is told of the connections that it makes."""
        return self._state is _State.RUNNING and self._on_connection is not None

    def holds_socket(self, inode: int) -> bool:
        """Whether the socket is among its descriptors, by the kernel's word."""
        try:
            descriptors = Descriptors(self.pid)
        except OSError:
            return False
        try:
            # What was looked at is this process, and no other that has been given its number, when it is there afterwards.
            return descriptors.include(inode) and self._is_there()
        finally:
            descriptors.close()

    def give_connection(self, connection: socket.socket) -> None:
        """Hand over a connection that it made."""
        assert self._on_connection is not None, "only who is welcome is asked whose it is"
        self._on_connection(connection)

    def _is_there(self) -> bool:
        try:
            signal.pidfd_send_signal(self._birth.pidfd, 0)
        except ProcessLookupError:
            return False
        return True

    def call_when_over(self, left: Callable[[], None]) -> None:
        """Have `left` called when it has ended, or at once when it has: what it held can be given to another."""
        if self._state is _State.OVER:
            left()
        else:
            self._on_left = left

    def start(self, message: ReplayingHostMessage, limits: Limits) -> None:
        """See `Process.start`."""
        if self.over:
            return
        self._state = _State.RUNNING
        self._limits = limits
        self._began = self._loop.time()
        bounds = Bounds(cpu=limits.cpu, wall=limits.wall, memory=self._birth.status.held + limits.memory)
        self._watch = self._reactor.watcher.add(self.pid, self._birth.pidfd, bounds, self._look, self._passed_a_limit)
        self._cpu_before = self._watch.cpu
        most = math.ceil(self._cpu_before + limits.cpu)  # should this node be late, the kernel ends it when that second is full
        try:
            resource.prlimit(self.pid, resource.RLIMIT_CPU, (most, most))
        except ProcessLookupError:
            pass  # it has ended: the connection says so in a moment
        self.send(message)

    # ── To the guest ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, message: ReplayingHostMessage) -> None:
        """See `Process.send`."""
        if self.over:
            return
        body = _encode(message)
        if self._tap is not None:
            self._tap(body)
        frames = encode_frames(body)
        if self._outgoing:
            self._keep(frames)
            return
        sent = self._write(frames)
        if sent < len(frames):
            self._keep(frames[sent:])

    def _write(self, frames: bytes | bytearray) -> int:
        try:
            return self._connection.send(frames)
        except BlockingIOError:
            return 0
        except OSError:  # it has closed its end: what is to be read says how
            return len(frames)

    def _keep(self, frames: bytes) -> None:
        if len(self._outgoing) + len(frames) > MESSAGE_LIMIT_FROM_HOST:
            self.kill("protocol")
            return
        if not self._outgoing:
            self._loop.add_writer(self._fd, self._write_on)
        self._outgoing += frames

    def _write_on(self) -> None:
        del self._outgoing[: self._write(self._outgoing)]
        if not self._outgoing:
            self._loop.remove_writer(self._fd)
            self._tell_takers()

    async def taken(self) -> None:
        """See `Process.taken`."""
        while self._outgoing and not self.over:
            if self._taken is None:
                self._taken = self._loop.create_future()
            await asyncio.shield(self._taken)

    def _tell_takers(self) -> None:
        if self._taken is not None:
            self._taken.set_result(None)
            self._taken = None

    # ── From the guest ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def pause(self) -> None:
        """See `Process.pause`."""
        if not self._paused and self._state is _State.RUNNING:
            self._paused = True
            self._reactor.forget(self._fd)

    def resume(self) -> None:
        """See `Process.resume`."""
        if self._paused and self._state is _State.RUNNING:
            self._paused = False
            self._reactor.watch(self._fd, self._read)

    def _read(self) -> None:
        if self._state is _State.DYING:
            return  # it has had its last word
        try:
            data = self._connection.recv(READ_SIZE)
        except BlockingIOError:
            return
        except ConnectionResetError:  # it ended with words of ours unread
            data = b""
        if not data:
            self._hung_up()
        elif self._state is not _State.RUNNING:
            self.kill("protocol")  # it has been asked nothing yet
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                message = self._decode(body) if len(body) < LARGE else decode_large(body)
                if self._tap is not None:
                    self._tap(body)
                self._deliver(message)
                if self._state is not _State.RUNNING:
                    return
        except (FrameError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            self.kill("protocol")

    def _deliver(self, message: GuestMessage) -> None:
        assert self._on_message is not None, "a process is listened to before it is started"
        last = type(message) is Finished or type(message) is Raised
        if last and (limit := self._last_look()) is not None:
            self.kill(limit)
            return
        self._on_message(message)
        if last and not self.over:
            self._state = _State.DYING
            self._loop.call_later(LINGER, self._finish)

    # ── Its end ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def usage(self) -> ProcessUsage:
        """See `Process.usage`."""
        return self._usage or self._measure()

    def _look(self) -> Status:
        return read_status(self._birth.status_fd)

    def _measure(self) -> ProcessUsage:
        try:
            return self._used(cpu_seconds(self.pid), self._look(), self._loop.time())
        except OSError:  # it is gone, or was never started
            return ProcessUsage(cpu=0.0, memory_peak=0, wall=max(0.0, self._loop.time() - self._began))

    def _used(self, cpu: float, status: Status, now: float) -> ProcessUsage:
        before = self._birth.status
        peak = status.held_peak - before.held_peak
        if self._limits is not None:  # the kernel lets it have no more: what was beyond that could not be written
            peak = min(peak, max(self._limits.memory_bound, status.held - before.held))
        return ProcessUsage(cpu=max(0.0, cpu - self._cpu_before), memory_peak=max(0, peak), wall=max(0.0, now - self._began))

    def _last_look(self) -> str | None:
        """Take note of what it has used, its last word being said; returns the limit that it has passed, if any."""
        assert self._watch is not None
        assert self._limits is not None
        if self._watch.passed is not None:
            return self._watch.passed  # and has been ended
        self._usage = self._measure()
        if self._usage.memory_peak > self._limits.memory:
            return "memory_limit"
        return "cpu_limit" if self._usage.cpu > self._limits.cpu else None

    def _passed_a_limit(self) -> None:
        """It was ended for a limit: log lines that it had written by then are still taken."""
        assert self._watch is not None
        if self._state is _State.RUNNING:
            self._hear_out()
        self.kill(self._watch.passed)

    def _hear_out(self) -> None:
        assert self._on_message is not None, "a process is listened to before it is started"
        try:
            while data := self._connection.recv(READ_SIZE):
                for body in self._frames.feed(data):
                    message = self._decode(body)
                    if type(message) is Log:
                        self._on_message(message)
        except (OSError, FrameError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            pass  # there is no more, or it is nothing that one could understand

    def kill(self, limit: str | None = None) -> None:
        """See `Process.kill`."""
        if self._state is not _State.OVER:
            self._end(Ended(signal=signal.SIGKILL, limit=limit))

    def _finish(self) -> None:
        if self._state is not _State.OVER:
            self._end(Ended(code=0))

    def _hung_up(self) -> None:
        """Its end of the connection closed before it had finished: whatever it still does, it is ended, and its status is asked for."""
        self._state = _State.DYING
        self._reactor.forget(self._fd)
        if self._watch is not None:
            self._reactor.watcher.remove(self._watch)
            if self._watch.passed is not None:
                self.kill(self._watch.passed)
                return
        self._usage = self._measure()
        self._signal()
        self._reactor.watch(self._birth.pidfd, self._died)

    def _died(self) -> None:
        self._reactor.forget(self._birth.pidfd)
        self._registry.autopsy(self._birth.status.pid, self._examined)

    def _examined(self, found: Exit | None) -> None:
        if self._state is _State.OVER:
            return
        if found is None:
            self._end(Ended())
            return
        self._count(found)
        if os.WIFSIGNALED(found.status):
            number = os.WTERMSIG(found.status)
            self._end(Ended(signal=number, limit="cpu_limit" if self._ended_by_kernel(number, found) else None))
        else:
            self._end(Ended(code=os.WEXITSTATUS(found.status)))

    def _ended_by_kernel(self, number: int, found: Exit) -> bool:
        """Whether the kernel ended it for its CPU time: the host was late."""
        used = found.cpu - self._cpu_before
        return self._limits is not None and number in (signal.SIGKILL, signal.SIGXCPU) and used >= self._limits.cpu

    def _count(self, found: Exit) -> None:
        """Take note of what it has used in all: of its memory nothing is left to look at, but how much it had touched."""
        before = self._usage or self._measure()
        peak = max(before.memory_peak, found.peak - self._birth.status.peak)
        self._usage = ProcessUsage(cpu=max(0.0, found.cpu - self._cpu_before), memory_peak=peak, wall=before.wall)

    def _end(self, ended: Ended) -> None:
        if self._watch is not None:
            self._reactor.watcher.remove(self._watch)
        if self._usage is None:
            self._usage = self._measured_by_watch() or self._measure()
        self._signal()
        self._state = _State.OVER
        self._tell_takers()
        self._ended = ended
        self._let_go()
        self._registry.left(self)
        if self._on_left is not None:
            self._on_left()
        if self._on_end is not None:
            self._loop.call_soon(self._on_end, ended)

    def _measured_by_watch(self) -> ProcessUsage | None:
        """Return what it had used when it was ended for a limit; nothing of its memory can be seen any more."""
        watch = self._watch
        if watch is None or watch.passed is None or watch.status is None:
            return None
        return self._used(watch.cpu, watch.status, watch.ended_at)

    def _signal(self) -> None:
        try:
            signal.pidfd_send_signal(self._birth.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended and been reaped

    def _let_go(self) -> None:
        self._reactor.forget(self._fd)
        self._reactor.forget(self._birth.pidfd)
        if self._outgoing:
            self._loop.remove_writer(self._fd)
            self._outgoing.clear()
        self._connection.close()
        os.close(self._birth.pidfd)
        os.close(self._birth.status_fd)
