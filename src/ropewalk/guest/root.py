"""The root zygote: first process of the sandbox, parent of every other, and the only one that is trusted.

It imports what authors commonly use and stands by, so that a version zygote is a fork and not a new interpreter. It runs no author's
code. It reaps every process of the sandbox, version zygotes and attempts alike (`CLONE_PARENT` makes it the parent of both), and tells the
host how those ended that did not end well.

Before: `enter`, which becomes this. After: `zygote`, which a fork of this becomes. When the host's end of the control socket closes it ends,
and takes everything with it: as the first process of its namespace, or of its process group, which nothing in the sandbox can leave.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import socket
import struct
import sys
from types import FrameType
from typing import Final, NoReturn

import msgspec

from ropewalk.guest import image, kernel, libraries, memory, zygote
from ropewalk.wire.control import CONTROL_LIMIT, Exit, Exits, Ready, RootCommand, RootReport, Spawn, Spawned, Sweep
from ropewalk.wire.plan import CONTROL_FD, QUEUE_FD, SELF_FD, Confinement, decode_plan

COMMON_MODULES: Final = """
asyncio base64 bisect calendar collections.abc colorsys contextvars copy csv ctypes dataclasses datetime decimal difflib
email.utils encodings.idna enum fnmatch fractions functools graphlib hashlib heapq hmac html html.parser inspect io ipaddress
itertools json linecache logging math mimetypes numbers operator pathlib pprint queue random re secrets statistics string struct
textwrap threading time tokenize traceback types typing unicodedata urllib.parse uuid warnings weakref zlib zoneinfo
"""
"""What a twist may import without paying for it: imported once, before any twist is near."""

_REAPING_INTERVAL: Final = 0.1
"""Seconds between two reapings while processes keep ending: under load one wake-up reaps a hundred."""

_MOST_EXITS: Final = 1000
"""Most exits in one packet, so that it stays below `CONTROL_LIMIT`."""

_ANCILLARY: Final = socket.CMSG_SPACE(struct.calcsize("ii"))


def warm() -> None:
    """Import what authors commonly use, the SDK and what runs an attempt, and settle the heap for being forked."""
    for name in COMMON_MODULES.split():
        importlib.import_module(name)
    for name in ("ropewalk.tools", "ropewalk.guest.author", "ropewalk.guest.attempt"):
        importlib.import_module(name)
    surface = importlib.import_module("ropewalk")
    for name in surface.__all__:
        getattr(surface, name)
    zoneinfo = importlib.import_module("zoneinfo")
    with contextlib.suppress(zoneinfo.ZoneInfoNotFoundError):  # where the machine has no table of zones, authors find none either
        zoneinfo.ZoneInfo("UTC")
    memory.listen()
    importlib.import_module("ropewalk.guest.rehearsal").rehearse()
    zygote.settle_heap(for_ever=True)


def main() -> NoReturn:
    """Serve the host until it goes."""
    with open(0, "rb", closefd=False) as text:
        plan = decode_plan(text.read())
    os.environ.pop("PYTHONHASHSEED", None)  # Python has it, and nobody else is to
    os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), 0)
    kernel.close_from(SELF_FD + 1)
    warm()
    libraries.join()
    image.move_to_file(SELF_FD)
    os.close(SELF_FD)
    supervisor = Supervisor(socket.socket(fileno=CONTROL_FD), plan.confinement, plan.networked or plan.confinement)
    supervisor.serve()
    # All that runs here. The first of a pid namespace is spared, and takes the others along as it ends.
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


class Supervisor:
    """Carries out the host's commands and reaps.

    Reaping is lazy: SIGCHLD is let through while nothing is known to have ended, and blocked for a while once something has.
    """

    def __init__(self, control: socket.socket, confinement: Confinement, networked: Confinement) -> None:
        self._control = control
        self._confinement = confinement
        self._networked = networked
        self._zygotes: set[int] = set()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(RootCommand).decode
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Take commands until the host closes its end."""
        signal.signal(signal.SIGCHLD, _note)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._say(Ready())
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        """Wait for a command or an end, and see to it; False when the host is gone."""
        readable, _, _ = select.select([CONTROL_FD, self._wake_read], [], [])
        return self._take_command() if CONTROL_FD in readable else self._let_some_end()

    def _let_some_end(self) -> bool:
        """Reap after a while, together with whatever else ends in it; commands are taken meanwhile."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        try:
            os.read(self._wake_read, 4096)
            while select.select([CONTROL_FD], [], [], _REAPING_INTERVAL)[0]:
                if not self._take_command():
                    return False
            self._report(self._reap())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        return True

    def _take_command(self) -> bool:
        packet, ancillary, _, _ = self._control.recvmsg(CONTROL_LIMIT, _ANCILLARY)
        if not packet:
            return False
        command: RootCommand = self._decode(packet)
        match command:
            case Spawn() as spawn:
                control, queue = zygote.passed_descriptors(ancillary)
                self._spawn(spawn, control, queue)
            case Sweep(number=number):
                exits = self._reap()
                self._report(exits[:-_MOST_EXITS])
                self._say(Exits(exits=exits[-_MOST_EXITS:], sweep=number))
        return True

    def _spawn(self, spawn: Spawn, control: int, queue: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._leave_to(spawn, control, queue)
        os.close(control)
        os.close(queue)
        self._zygotes.add(pid)
        self._say(Spawned(pid=pid))

    def _leave_to(self, spawn: Spawn, control: int, queue: int) -> NoReturn:
        """Become a version zygote, in a fork of this process."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.dup2(control, CONTROL_FD)
            os.dup2(os.dup(queue), QUEUE_FD)  # the copy, since what is `control` may have that number
            kernel.close_from(QUEUE_FD + 1)
            os.dup2(0, 1)
            zygote.serve(spawn, self._networked if spawn.network else self._confinement)
        except BaseException as error:  # noqa: BLE001 — whatever it is, this must not go on as the supervisor
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(1)

    def _reap(self) -> list[Exit]:
        exits: list[Exit] = []
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if not pid:
                    break
                if status or pid in self._zygotes:
                    self._zygotes.discard(pid)
                    cpu = usage.ru_utime + usage.ru_stime
                    exits.append(Exit(pid=pid, status=status, cpu=cpu, peak=usage.ru_maxrss * 1024))
        return exits

    def _report(self, exits: list[Exit]) -> None:
        for start in range(0, len(exits), _MOST_EXITS):
            self._say(Exits(exits=exits[start : start + _MOST_EXITS]))

    def _say(self, report: RootReport) -> None:
        self._control.send(self._encode(report))


def _note(_signal: int, _frame: FrameType | None) -> None:
    """Be there: a signal without a handler would not be written to the wake-up pipe."""
