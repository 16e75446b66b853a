"""The host's side of the zygotes: starting the root zygote, asking it for version zygotes, asking those for processes.

A zygote ends in one way only: it is closed, by whoever finds that it is of no use, and everyone who waits for something from it gets
`ZygoteGone`. Nothing here starts one again; `source` does, when next one is needed.

Before: `launch`. After: `processes`, which has what a zygote forked, once it has been verified.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from fcntl import ioctl
from functools import partial
from termios import TIOCOUTQ
from typing import Final

import msgspec
from msgspec.structs import replace

from ropewalk.sandbox import inspection
from ropewalk.sandbox.doorway import Doorway
from ropewalk.sandbox.interface import Image, RefusedImport, SandboxError, bound_of
from ropewalk.sandbox.launch import Launched
from ropewalk.sandbox.processes import Birth, ForkedProcess
from ropewalk.sandbox.reactor import Deadline, Reactor
from ropewalk.sandbox.watch import Bounds, Watch, cpu_seconds
from ropewalk.wire.control import (
    CONTROL_LIMIT,
    FORK,
    HELLO,
    THREADS,
    Exit,
    Exits,
    Import,
    Imported,
    ImportFailed,
    Manifest,
    Ready,
    RootReport,
    Spawn,
    Spawned,
    Standing,
    Sweep,
    ZygoteReport,
)

IMPORT_SECONDS: Final = 10.0
"""What the import of an author's module may take, of CPU and of wall time alike."""

FORK_SECONDS: Final = 5.0
"""How long a version zygote may take to give a process before it is taken for stuck."""

ANSWER_SECONDS: Final = 10.0
"""How long the root zygote may take to answer a command before it is taken for stuck."""

CONFINE_SECONDS: Final = 10.0
"""How long a new zygote may take until it has confined itself."""

_logger: Final = logging.getLogger(__name__)
_NONE: Final = bytes(4)
_CREDENTIALS: Final = struct.Struct("iII")
_DESCRIPTOR: Final = struct.Struct("i")
_ANCILLARY: Final = socket.CMSG_SPACE(_CREDENTIALS.size)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_report: Final = msgspec.msgpack.Decoder(RootReport).decode
_decode_zygote_report: Final = msgspec.msgpack.Decoder(ZygoteReport).decode


UNASKED_CPU: Final = 1.0
"""Seconds of CPU between two rounds that a version zygote may use for other things than forking."""

FORK_CPU: Final = 0.05
"""Seconds of CPU that a fork may cost a version zygote."""

STRAY_SECONDS: Final = 0.5
"""For how long strays are ended that go on making others. Ending one takes a hundredth of what making one does."""


class ZygoteGone(SandboxError):
    """The zygote ended, or was ended, before it could give what was asked of it: ask another."""


class ZygoteMisbehaved(ZygoteGone):
    """The zygote was ended for what only the author's code can have made it do: another one would do it too."""


def _receive(connection: socket.socket, size: int, descriptors: int = 0) -> tuple[bytes, int, list[int]]:
    """Return what was sent, who sent it, by the kernel's word (the sender's number on the host), and up to so many descriptors with it."""
    room = _ANCILLARY + (socket.CMSG_SPACE(descriptors * _DESCRIPTOR.size) if descriptors else 0)
    try:
        data, ancillary, _, _ = connection.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", 0, []
    pid, received = 0, list[int]()
    for _, kind, content in ancillary:
        if kind == socket.SCM_CREDENTIALS:
            pid = int(_CREDENTIALS.unpack_from(content)[0])
        else:
            received += [one for (one,) in _DESCRIPTOR.iter_unpack(content)]
    return data, pid, received


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended and been reaped


def _end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    _kill(pidfd)
    os.close(pidfd)


def _how(found: Exit | None) -> str:
    """Return how a process ended, as the rest of a sentence."""
    if found is None:
        return ""
    if os.WIFSIGNALED(found.status):
        return f" by {signal.Signals(os.WTERMSIG(found.status)).name}"
    return f" with exit code {os.WEXITSTATUS(found.status)}"


class RootZygote:
    """The first process of the sandbox, as the host sees it.

    Args:
        reactor: sees to its descriptors, in the thread that launched it.
        launched: its control socket and standard error.
        on_gone: called once, when it has ended or been closed.
    """

    def __init__(self, reactor: Reactor, launched: Launched, on_gone: Callable[[RootZygote], None]) -> None:
        self.pid = 0
        self.image_data = 0
        self.image_held = 0
        self.zygotes: set[int] = set()
        """The version zygotes that live, by their numbers inside: how they end is of interest."""
        self.hosts: set[int] = set()
        """The same, by their numbers on the host."""
        self._unknown: set[int] = set()
        self.ready: asyncio.Future[None] = reactor.loop.create_future()
        self.reactor = reactor
        self._launched = launched
        self._control = launched.control
        self._on_gone = on_gone
        self._pidfd = -1
        self._closed = False
        self._living: dict[int, ForkedProcess] = {}
        self._deaths: dict[int, Exit] = {}
        self._autopsies: deque[tuple[int, Callable[[Exit | None], None]]] = deque()
        self._swept = 0
        self._sweeps = 0
        self._unanswered = 0
        self._patience: Deadline | None = None
        self._doorway: Doorway | None = None
        self._said = ""
        reactor.watch(self._control.fileno(), self._read)
        reactor.watch(launched.errors, self._read_errors)

    @property
    def closed(self) -> bool:
        """Whether it is of no more use."""
        return self._closed

    def spawn(self, image: Image, control: socket.socket, queue: socket.socket) -> None:
        """Ask for a version zygote of this image whose ends of its control socket and its queue are these."""
        descriptors = struct.pack("ii", control.fileno(), queue.fileno())
        self._ask(
            _encode(Spawn(bundle=image.bundle, network=image.network)), [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
        )

    def close(self, why: str = "the sandbox was stopped") -> None:
        """End it, and with it every process of the sandbox."""
        if self._closed:
            return
        self._closed = True
        self.reactor.forget(self._control.fileno())
        self.reactor.forget(self._launched.errors)
        if self._patience is not None:
            self.reactor.cancel(self._patience)
        if self._doorway is not None:
            self._doorway.close()
        if self._pidfd >= 0:
            self._end_and_reap()
        self._launched.close()
        for process in list(self._living.values()):
            process.kill()
        if not self.ready.done():
            self.ready.set_exception(SandboxError(why))
            self.ready.exception()  # whether anyone waits for it is no concern of the event loop's
        while self._autopsies:
            self._autopsies.popleft()[1](None)
        self._on_gone(self)

    def close_unless_ready(self) -> None:
        """End it when it has not come to stand by in the time that was given to it."""
        if not self.ready.done():
            self.close("the root zygote did not come up in time")

    def _end_and_reap(self) -> None:
        """End it with its whole process group, wait until its namespace is empty, which the kernel sees to: it is our own child."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except (ProcessLookupError, ChildProcessError):
            pass  # somebody else in the node has reaped it
        os.close(self._pidfd)

    def _ask(self, packet: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Send a command, and end the zygote when it answers none for `ANSWER_SECONDS`. Raises ZygoteGone."""
        try:
            self._control.sendmsg([packet], ancillary)
        except OSError as error:
            self.close(f"the root zygote takes no more commands: {error.strerror}")
            raise ZygoteGone("the root zygote has ended") from error
        self._unanswered += 1
        if self._patience is None:
            self._patience = self.reactor.call_later(ANSWER_SECONDS, self._silent)

    def _answered(self) -> None:
        self._unanswered -= 1
        assert self._patience is not None, "an answer is to a command"
        self.reactor.cancel(self._patience)
        self._patience = self.reactor.call_later(ANSWER_SECONDS, self._silent) if self._unanswered else None

    def _silent(self) -> None:
        self.close(f"the root zygote did not answer for {ANSWER_SECONDS:g} s")

    # ── What it says ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        try:
            packet, pid, descriptors = _receive(self._control, CONTROL_LIMIT, descriptors=2)
        except BlockingIOError:
            return
        if not packet:
            self.close(self._why_it_ended())
        elif packet == HELLO:
            self.pid = pid
            self._pidfd = os.pidfd_open(pid)
            self._open_door(descriptors)
        else:
            self._take(_decode_report(packet))

    def _open_door(self, descriptors: list[int]) -> None:
        """Take connections from inside, where the sandbox has a door."""
        if descriptors:
            listener, diag = (socket.socket(fileno=one) for one in descriptors)
            self._doorway = Doorway(self.reactor, listener, diag, self._welcome)

    def _welcome(self) -> Iterable[ForkedProcess]:
        return (process for process in self._living.values() if process.is_welcome)

    def _why_it_ended(self) -> str:
        self._said += self._launched.read_errors()
        return f"the sandbox could not be entered: {self._said.strip()}" if self._said else "the root zygote ended"

    def _read_errors(self) -> None:
        said = self._launched.read_errors()
        if not said:
            self.reactor.forget(self._launched.errors)
        elif self.ready.done():
            _logger.warning("the sandbox says: %s", said.strip())
        else:
            self._said += said  # the whole of it is told when it has ended

    def _take(self, report: RootReport) -> None:
        match report:
            case Ready():
                self._launched.forget_launcher()
                status = inspection.status_of(self.pid)
                self.image_data, self.image_held = status.data, status.held
                self.ready.set_result(None)
            case Spawned():
                self._answered()
            case Exits():
                self._note(report)

    # ── How processes ended ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def living(self) -> int:
        """How many processes there are, those that wait included."""
        return len(self._living)

    def joined(self, process: ForkedProcess) -> None:
        """Remember a process while it lives: its end will be of interest."""
        self._living[process.inner_pid] = process

    def left(self, process: ForkedProcess) -> None:
        """Forget a process."""
        if self._living.get(process.inner_pid) is process:
            del self._living[process.inner_pid]
            self._deaths.pop(process.inner_pid, None)

    @property
    def attempts(self) -> set[int]:
        """The processes that live, those that wait included, by their numbers on the host."""
        return {process.pid for process in self._living.values()}

    def end_strays(self) -> None:
        """End the processes that nobody has asked for. To be called every few seconds: what is no one's twice in a row is a stray."""
        known = self.attempts | self.hosts
        unknown = {pid for pid in inspection.children_of(self.pid) if pid not in known}
        for pid in unknown & self._unknown:
            _logger.warning("process %d, which a version zygote made for itself, was ended", pid)
            _end(pid)
        self._unknown = unknown

    def autopsy(self, pid: int, done: Callable[[Exit | None], None]) -> None:
        """Find out how the process of this number inside, which has ended, did."""
        if self._closed:
            done(None)
            return
        self._autopsies.append((pid, done))
        if not self._swept:
            self._sweep()

    def _sweep(self) -> None:
        """Ask for whatever has ended to be reaped; the answer serves all autopsies of now, later ones wait for the next."""
        self._sweeps += 1
        self._swept = len(self._autopsies)
        try:
            self._ask(_encode(Sweep(number=self._sweeps)), [])
        except ZygoteGone:
            pass  # closing it has answered them all

    def _note(self, exits: Exits) -> None:
        for found in exits.exits:
            if found.pid in self._living or found.pid in self.zygotes:
                self._deaths[found.pid] = found
        if not exits.sweep:
            return  # it said so unasked
        self._answered()
        for _ in range(self._swept):
            pid, done = self._autopsies.popleft()
            # What ended well is not reported: it was reaped, and there was nothing to say.
            done(self._deaths.pop(pid, Exit(pid=pid, status=0)))
        self._swept = 0
        if self._autopsies:
            self._sweep()


class _Newborn:
    """A process that has been asked for: nothing is known of it yet but our end of its connection and the other end's inode."""

    __slots__ = ("asked_at", "connection", "inode", "pid")

    def __init__(self, connection: socket.socket, inode: int, asked_at: float) -> None:
        self.connection = connection
        self.inode = inode
        self.asked_at = asked_at
        self.pid = 0


class VersionZygote:
    """A version's zygote, as the host sees it: confined, then importing, then forking processes until it is closed.

    Args:
        reactor: sees to its descriptors and deadlines.
        root: whose fork it is.
        image: what it imports.
        on_process: given each process that it made, verified.
        on_gone: called once, when it has ended or been closed.
    """

    def __init__(
        self,
        reactor: Reactor,
        root: RootZygote,
        image: Image,
        on_process: Callable[[ForkedProcess], None],
        on_gone: Callable[[VersionZygote], None],
    ) -> None:
        self.image = image
        self.ready: asyncio.Future[Manifest | None] = reactor.loop.create_future()
        self.newborn: dict[int, _Newborn] = {}
        self.memory = image.memory_to_import
        """What it may take beyond the root zygote while it imports; from then on, what it has taken."""
        self._reactor = reactor
        self._root = root
        self._on_process = on_process
        self._on_gone = on_gone
        self._pid = 0
        self._inner_pid = 0
        self._pidfd = -1
        self._descriptors: inspection.Descriptors | None = None
        self._mounts: str | None = None
        self._forks = 0
        self._seen = (0.0, 0)
        self._closed = False
        self._why = ""
        self._misbehaved = False
        self._watch: Watch | None = None
        self._stuck: Deadline | None = None
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._queue, queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._queue.setblocking(False)
        self._inodes = [os.fstat(end.fileno()).st_ino for end in (control, queue)]
        with control, queue:
            root.spawn(image, control, queue)
        reactor.watch(self._control.fileno(), self._read)
        self._confining = reactor.call_later(CONFINE_SECONDS, self._not_confined)

    @property
    def closed(self) -> bool:
        """Whether it is of no more use."""
        return self._closed

    @property
    def gone(self) -> ZygoteGone:
        """Why it is of no more use."""
        return ZygoteMisbehaved(self._why) if self._misbehaved else ZygoteGone(self._why)

    def end(self, misdeed: str) -> None:
        """Close it for what only the author's code can have made it do."""
        _logger.warning("a process that had imported %s was ended: it %s", self.image.module, misdeed)
        self._misbehaved = True
        self.close(f"its version's zygote {misdeed}")

    def close(self, why: str = "the version zygote was stopped") -> None:
        """End it. Processes that were asked of it live on; those that were asked for will not come, and there will be no others."""
        if self._closed:
            return
        self._closed = True
        self._why = why
        self._reactor.cancel(self._confining)
        if self._watch is not None:
            self._reactor.watcher.remove(self._watch)
        if self._stuck is not None:
            self._reactor.cancel(self._stuck)
        self._reactor.forget(self._control.fileno())
        self._control.close()
        self._queue.close()
        if self._descriptors is not None:
            self._descriptors.close()
            self._reactor.forget(self._pidfd)
            self._root.zygotes.discard(self._inner_pid)
            self._root.hosts.discard(self._pid)
            _kill(self._pidfd)
            os.close(self._pidfd)
            self._end_strays()
        for newborn in list(self.newborn.values()):
            self._drop(newborn)
        if not self.ready.done():
            self.ready.set_exception(self.gone)
            self.ready.exception()  # whether anyone waits for it is no concern of the event loop's
        self._on_gone(self)

    # ── Strays ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _strays(self) -> list[int]:
        """Return the processes that nobody has asked for: all in its mount namespace, but for it and the attempts that live."""
        known = self._root.attempts
        return [pid for pid in self._forked() if pid not in known]

    def _forked(self) -> list[int]:
        """Return the processes that see what it sees, asked for or not.

        Where it has no namespace of its own they cannot be told from those of others, and only `RootZygote.end_strays` ends them.
        """
        if self._mounts is None or self._root.closed:
            return []
        others = (pid for pid in inspection.children_of(self._root.pid) if pid != self._pid)
        return [pid for pid in others if inspection.mounts_of(pid) == self._mounts]

    def _end_strays(self) -> None:
        give_up_at = self._reactor.loop.time() + STRAY_SECONDS
        while (strays := self._strays()) and self._reactor.loop.time() < give_up_at:
            for pid in strays:
                _end(pid)

    def look_again(self) -> None:
        """End it when it does what nobody has asked it to. To be called every few seconds, once it is ready."""
        try:
            held = self._look().held - self._root.image_held
        except OSError:
            return  # it has ended: the connection says so
        (cpu, forks), self._seen = self._seen, (cpu_seconds(self._pid), self._forks)
        if self._seen[0] - cpu > UNASKED_CPU + FORK_CPU * (self._forks - forks):
            self.end("computes though nobody has asked it to")
        elif held > self.memory + self.image.limits.memory:
            self.end(f"took {held:,} bytes of memory, after its import")

    # ── Import ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        try:
            packet, pid, _ = _receive(self._control, CONTROL_LIMIT)
        except BlockingIOError:
            return
        if not packet:
            self._hung_up()
        elif not self._pid and packet == HELLO:
            self._confined(pid)
        elif not self._pid:
            self._fail(SandboxError(f"a version zygote could not be confined: {packet.decode(errors='replace')}"))
        elif self.ready.done():
            self.end("spoke out of turn")
        else:
            self._imported(packet)

    def _not_confined(self) -> None:
        self.close("a new version zygote did not confine itself in time")

    def _confined(self, pid: int) -> None:
        """It runs under its rules, and no author's code yet: set its limits, then have it import."""
        self._pid, self._pidfd, self._descriptors = pid, os.pidfd_open(pid), inspection.Descriptors(pid)
        self._inner_pid = inspection.status_of(pid).pid
        self._root.zygotes.add(self._inner_pid)
        self._root.hosts.add(pid)
        mounts = inspection.mounts_of(pid)
        self._mounts = mounts if mounts != inspection.mounts_of(self._root.pid) else None
        self._reactor.cancel(self._confining)
        memory = self._root.image_held + self.image.memory_to_import
        bounds = Bounds(cpu=IMPORT_SECONDS, wall=IMPORT_SECONDS, memory=memory, forks=True)
        self._watch = self._reactor.watcher.add(pid, self._pidfd, bounds, self._look_at_import, self._passed_a_limit)
        self._limit_memory(self._root.image_data, self.image.memory_to_import)
        image, limits = self.image, self.image.limits
        request = Import(
            module=image.module, cls=image.cls, memory=limits.memory, cpu=limits.cpu, strict=image.strict, replays=image.replays
        )
        self._send(self._control, _encode(request))

    def _limit_memory(self, image: int, memory: int) -> None:
        _, hard = resource.prlimit(self._pid, resource.RLIMIT_DATA)
        resource.prlimit(self._pid, resource.RLIMIT_DATA, (image + bound_of(memory), hard))

    def _look(self) -> inspection.Status:
        return inspection.status_of(self._pid)

    def _look_at_import(self) -> inspection.Status:
        """Count the processes that it has made among its threads, from whatever thread this is called: it may have none."""
        status = self._look()
        return replace(status, threads=status.threads + len(self._forked()))

    def _passed_a_limit(self) -> None:
        assert self._watch is not None
        assert self._watch.passed is not None
        self._import_over(self._watch.passed)

    def _import_over(self, limit: str) -> None:
        module = self.image.module
        if limit == "memory_limit":
            text = f"importing {module} took more than {self.image.memory_to_import:,} bytes of memory (limit_import)"
        elif limit == "thread_limit":
            text = f"importing {module} started more than {THREADS} threads or processes"
        else:
            what = "CPU time" if limit == "cpu_limit" else "time"
            text = f"importing {module} took more than {IMPORT_SECONDS:g} s of {what}"
        self._fail(RefusedImport(limit, f"{text}: move work out of the module's top level, into the twist's methods"))

    def _hung_up(self) -> None:
        if not self._pid or self.ready.done():
            self.close("the version zygote ended")
            return
        if self._watch is not None and self._watch.passed is not None:
            return  # it was ended, which is about to be told
        self._reactor.forget(self._control.fileno())
        _kill(self._pidfd)  # should it have closed its end only
        self._reactor.watch(self._pidfd, self._died)

    def _died(self) -> None:
        self._reactor.forget(self._pidfd)
        self._root.autopsy(self._inner_pid, self._examined)

    def _examined(self, found: Exit | None) -> None:
        self._fail(RefusedImport("crash", f"importing {self.image.module} ended its process{_how(found)}"))

    def _imported(self, packet: bytes) -> None:
        try:
            report: ZygoteReport = _decode_zygote_report(packet)
            match report:
                case ImportFailed(type="MemoryError"):
                    self._import_over("memory_limit")
                case ImportFailed():
                    self._fail(RefusedImport(report.type, report.message, report.traceback))
                case Imported() if not self.image.strict:
                    self._accept(report.manifest)
                case Standing() if self.image.strict:
                    self._accept(None)
                case _:
                    self._fail(self._broken())
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OSError):
            self._fail(self._broken())

    def _broken(self) -> RefusedImport:
        return RefusedImport("protocol", f"importing {self.image.module} broke what the sandbox runs it with")

    def _accept(self, manifest: Manifest | None) -> None:
        status = self._look()
        if status.held - self._root.image_held > self.image.memory_to_import:
            self._import_over("memory_limit")
            return
        problem = self._problem(status.threads)
        if problem is not None:
            self._fail(RefusedImport("InvalidModule", problem))
            return
        assert self._watch is not None
        self._reactor.watcher.remove(self._watch)
        self._limit_memory(status.data, self.image.limits.memory)
        self.memory = max(0, status.held - self._root.image_held)
        self._seen = (cpu_seconds(self._pid), 0)
        self.ready.set_result(manifest)

    def _problem(self, threads: int) -> str | None:
        """What the import has left behind that attempts would share, if anything."""
        module = self.image.module
        if threads != 1:
            return f"importing {module} started {threads - 1} thread(s) that still run: start them in the twist's methods"
        if not inspection.holds_only(self._pid, *self._inodes):
            return (
                f"importing {module} left files, sockets or an event loop open: open them in the twist's methods, or close them"
            )
        if inspection.writable_shared_mappings(self._pid):
            return f"importing {module} left shared memory mapped: map it in the twist's methods"
        if strays := self._strays():
            return f"importing {module} started {len(strays)} process(es): a twist may have none but its own"
        return None

    def _fail(self, why: RefusedImport | SandboxError) -> None:
        """End it for a reason that another zygote would meet too."""
        if not self.ready.done():
            self.ready.set_exception(why)
            self.ready.exception()  # the event loop is not to complain when the one who waited has gone
        self.close()

    def _send(self, by: socket.socket, packet: bytes, ancillary: Iterable[tuple[int, int, bytes]] = ()) -> bool:
        try:
            by.sendmsg([packet], ancillary)
        except OSError:  # its end shows when reading; a full buffer means that it takes nothing
            self.close("the version zygote takes no more commands")
            return False
        return True

    # ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def fork(self, word: bytes = FORK) -> None:
        """Ask for one process; `on_process` gets it, or `on_gone` is called. `word` is FORK or FORK_AHEAD."""
        connection, theirs = socket.socketpair()
        inode = os.fstat(theirs.fileno()).st_ino
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", theirs.fileno()))
        sent = self._send(self._queue, FORK, [rights]) and self._send(self._control, word)
        theirs.close()
        if not sent:
            connection.close()
            return
        self._forks += 1
        newborn = _Newborn(connection, inode, self._reactor.loop.time())
        fd = connection.fileno()
        self.newborn[fd] = newborn
        self._reactor.watch(fd, partial(self._greet, newborn))
        if self._stuck is None:
            self._stuck = self._reactor.call_later(FORK_SECONDS, self._check_stuck)

    def _check_stuck(self) -> None:
        self._stuck = None
        if not self.newborn:
            return
        oldest = min(newborn.asked_at for newborn in self.newborn.values())
        if self._reactor.loop.time() - oldest >= FORK_SECONDS:
            self.close("the version zygote is stuck")
        else:
            self._stuck = self._reactor.call_at(oldest + FORK_SECONDS, self._check_stuck)

    def _greet(self, newborn: _Newborn) -> None:
        try:
            data, newborn.pid, _ = _receive(newborn.connection, len(HELLO))
        except BlockingIOError:
            return
        if data == HELLO:
            self._verify(newborn)
        else:
            self.close("the version zygote could not fork")

    def _verify(self, newborn: _Newborn) -> None:
        """See from outside that it is a fork of the zygote, pristine, alone with its connection."""
        try:
            birth = self._examine(newborn)
            if birth is None:
                self.end("gave a process that is not what was asked for")
            else:
                self._hand_over(birth, newborn)
        except OSError:
            self.close("a new process ended at once")

    def _examine(self, newborn: _Newborn) -> Birth | None:
        pid = newborn.pid
        pidfd = os.pidfd_open(pid)
        status_fd = -1
        try:
            status_fd = inspection.open_status(pid)
            status = inspection.read_status(status_fd)
            is_ours = pid != self._pid and status.parent == self._root.pid and status.threads == 1
            if is_ours and inspection.holds_only(pid, newborn.inode):
                newborn.connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
                return Birth(
                    pid=pid,
                    pidfd=pidfd,
                    status_fd=status_fd,
                    status=status,
                    connection=newborn.connection,
                    replays=self.image.replays,
                )
        except OSError:
            self._discard(pidfd, status_fd)
            raise
        self._discard(pidfd, status_fd)
        return None

    def _discard(self, pidfd: int, status_fd: int) -> None:
        _kill(pidfd)
        os.close(pidfd)
        if status_fd >= 0:
            os.close(status_fd)

    def _hand_over(self, birth: Birth, newborn: _Newborn) -> None:
        """Hand the process over, unless the zygote has taken its connection too: it has no business with it."""
        if self._descriptors is None or self._descriptors.include(newborn.inode) or self._left_in_queue():
            self._discard(birth.pidfd, birth.status_fd)
            self.end("kept the connection of a process that it made")
            return
        del self.newborn[newborn.connection.fileno()]
        process = ForkedProcess(self._reactor, birth, self._root)
        self._root.joined(process)
        self._on_process(process)

    def _left_in_queue(self) -> bool:
        """Whether the process has only looked at its connection, and left it for the zygote to take: nothing else is on its way."""
        return len(self.newborn) == 1 and ioctl(self._queue, TIOCOUTQ, _NONE) != _NONE

    def _drop(self, newborn: _Newborn) -> None:
        fd = newborn.connection.fileno()
        self._reactor.forget(fd)
        del self.newborn[fd]
        newborn.connection.close()
