"""One attempt's process, seen from the host: its connection, its limits, its end.

A `ForkedProcess` has been verified and waits; then it is listened to and started; then it is ended, once. What the guest says is read
from the event loop and handed on at once. Limits are checked lazily: the first look at its CPU clock comes when the budget could have
been used up on every CPU of the machine, so that a short execution pays for one timer and nothing else.

Before: `zygotes`, which forks and verifies. After: the dispatcher, which listens.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

import msgspec

from ropewalk.sandbox.inspection import Status, read_status
from ropewalk.sandbox.interface import Ended, Limits, OnEnd, OnMessage, ProcessUsage
from ropewalk.sandbox.reactor import Reactor
from ropewalk.wire.control import Exit
from ropewalk.wire.frames import MESSAGE_LIMIT_FROM_GUEST, MESSAGE_LIMIT_FROM_HOST, FrameDecoder, FrameError, encode_frames
from ropewalk.wire.messages import Finished, GuestMessage, HostMessage, Raised

READ_SIZE: Final = 64 * 1024
"""Most bytes read from one guest before others have their turn."""

CPUS: Final = len(os.sched_getaffinity(0))
"""How many processes can run at once."""

MEMORY_CHECK: Final = 0.02
"""Seconds between two looks at how much memory a process holds: it cannot fill more than some tens of megabytes meanwhile."""

MEMORY_ROOM: Final = 1024 * 1024 * 1024
"""Bytes beyond its memory limit that a process may map (RLIMIT_DATA): so that what asks for too much at once gets it, and is ended."""

LINGER: Final = 0.0015
"""Seconds from a process's last word to its end. Ending it holds up what it did being settled, and nobody waits for it."""

_SHORTEST_CHECK: Final = 0.004
"""Seconds between two looks at a CPU clock, at the least."""

_BACKSTOP: Final = 2
"""Whole seconds of CPU beyond its limit after which the kernel itself ends a process, should the host be late."""

_CPU_CLOCK_OF_PROCESS: Final = 2

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(GuestMessage).decode


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, all threads together; 0 when it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | _CPU_CLOCK_OF_PROCESS)
    except OSError:
        return 0.0


class Watch:
    """Calls `over` when a process has used its CPU, its wall time or its memory, with the name of that limit.

    It is looked at every `MEMORY_CHECK`: its CPU clock, which is cheap, and its memory when that has gone on, since only what runs can take
    memory.

    Args:
        reactor: keeps the deadline.
        pid: the process on the host.
        cpu: seconds of CPU from now on.
        wall: seconds from now.
        has_too_much: whether it holds more memory than it may.
        over: called at most once.
    """

    __slots__ = ("_cpu_end", "_cpu_seen", "_deadline", "_has_too_much", "_over", "_pid", "_reactor", "_wall_end")

    def __init__(
        self,
        reactor: Reactor,
        pid: int,
        cpu: float,
        wall: float,
        has_too_much: Callable[[], bool],
        over: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._pid = pid
        self._over = over
        self._has_too_much = has_too_much
        self._cpu_seen = cpu_seconds(pid)
        self._cpu_end = self._cpu_seen + cpu
        now = reactor.loop.time()
        self._wall_end = now + wall
        self._deadline = reactor.call_at(self._next(now), self._check)

    def cancel(self) -> None:
        """Stop watching."""
        self._reactor.cancel(self._deadline)

    def _next(self, now: float) -> float:
        left = max((self._cpu_end - self._cpu_seen) / CPUS, _SHORTEST_CHECK)
        return min(self._wall_end, now + min(left, MEMORY_CHECK))

    def _check(self) -> None:
        now = self._reactor.loop.time()
        limit = self._passed(now)
        if limit is not None:
            self._over(limit)
        else:
            self._deadline = self._reactor.call_at(self._next(now), self._check)

    def _passed(self, now: float) -> str | None:
        seen, self._cpu_seen = self._cpu_seen, cpu_seconds(self._pid)
        if self._cpu_seen >= self._cpu_end:
            return "cpu_limit"
        if now >= self._wall_end:
            return "timeout"
        return "memory_limit" if self._cpu_seen != seen and self._has_too_much() else None


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """A verified process: its connection, its handle and open /proc/PID/status, and what that said while it waited."""

    pid: int
    pidfd: int
    status_fd: int
    status: Status
    connection: socket.socket


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
        self._on_message: OnMessage | None = None
        self._on_end: OnEnd | None = None
        self._ended: Ended | None = None
        self._watch: Watch | None = None
        self._memory = 0
        self._cpu = 0.0
        self._cpu_before = 0.0
        self._usage: ProcessUsage | None = None
        self._held_too_much = False
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

    def listen(self, on_message: OnMessage, on_end: OnEnd) -> None:
        """See `Process.listen`."""
        self._on_message, self._on_end = on_message, on_end
        if self._ended is not None:
            self._loop.call_soon(on_end, self._ended)

    def start(self, message: HostMessage, limits: Limits) -> None:
        """See `Process.start`."""
        if self.over:
            return
        self._state = _State.RUNNING
        self._cpu_before = cpu_seconds(self.pid)
        self._memory = limits.memory
        self._cpu = limits.cpu
        self._watch = Watch(self._reactor, self.pid, limits.cpu, limits.wall, self._holds_too_much, self.kill)
        most = int(limits.cpu) + _BACKSTOP
        try:
            resource.prlimit(self.pid, resource.RLIMIT_CPU, (most, most))
        except ProcessLookupError:
            pass  # it has ended: the connection says so in a moment
        self.send(message)

    # ── To the guest ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, message: HostMessage) -> None:
        """See `Process.send`."""
        if self.over:
            return
        frames = encode_frames(_encode(message))
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

    # ── From the guest ────────────────────────────────────────────────────────────────────────────────────────────────────────

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
                self._deliver(_decode(body))
                if self._state is not _State.RUNNING:
                    return
        except (FrameError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            self.kill("protocol")

    def _deliver(self, message: GuestMessage) -> None:
        assert self._on_message is not None, "a process is listened to before it is started"
        last = type(message) is Finished or type(message) is Raised
        if last:
            self._usage = self._measure()
            if self._held_too_much:
                self.kill("memory_limit")
                return
        self._on_message(message)
        if last and not self.over:
            self._state = _State.DYING
            self._loop.call_later(LINGER, self._finish)

    # ── Its end ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def usage(self) -> ProcessUsage:
        """See `Process.usage`."""
        return self._usage or self._measure()

    def _measure(self) -> ProcessUsage:
        try:
            status = read_status(self._birth.status_fd)
        except OSError:
            return ProcessUsage(cpu=0.0, memory_peak=0)
        before = self._birth.status
        self._held_too_much = status.data_peak - before.data_peak > self._memory
        cpu = cpu_seconds(self.pid) - self._cpu_before
        return ProcessUsage(cpu=max(0.0, cpu), memory_peak=max(0, status.peak - before.peak))

    def _holds_too_much(self) -> bool:
        try:
            return read_status(self._birth.status_fd).data - self._birth.status.data > self._memory
        except OSError:
            return False

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
        """Whether the kernel's backstop ended it for its CPU time: the host was late."""
        return number in (signal.SIGKILL, signal.SIGXCPU) and found.cpu - self._cpu_before >= self._cpu

    def _count(self, found: Exit) -> None:
        peak = max(0, found.peak - self._birth.status.peak)
        self._usage = ProcessUsage(cpu=max(0.0, found.cpu - self._cpu_before), memory_peak=peak)

    def _end(self, ended: Ended) -> None:
        if self._usage is None:
            self._usage = self._measure()
        self._signal()
        self._state = _State.OVER
        self._ended = ended
        self._let_go()
        self._registry.left(self)
        if self._on_end is not None:
            self._loop.call_soon(self._on_end, ended)

    def _signal(self) -> None:
        try:
            signal.pidfd_send_signal(self._birth.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended and been reaped

    def _let_go(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._reactor.forget(self._fd)
        self._reactor.forget(self._birth.pidfd)
        if self._outgoing:
            self._loop.remove_writer(self._fd)
            self._outgoing.clear()
        self._connection.close()
        os.close(self._birth.pidfd)
        os.close(self._birth.status_fd)
