"""The host's real ends of connections, without a sandbox: one child that has ended and is not reaped stands for every process.

Signals and limits do nothing to it, and its number is nobody else's until the end.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ropewalk.sandbox.inspection import open_status, read_status
from ropewalk.sandbox.processes import Birth, ForkedProcess
from ropewalk.sandbox.reactor import Reactor
from ropewalk.wire.control import Exit


class Stand:
    """Makes processes for code that runs in `loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._reactor = Reactor(loop)
        self._child = subprocess.Popen(["true"])
        os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        self._pidfd = os.pidfd_open(self._child.pid)
        self._status_fd = open_status(self._child.pid)
        self._status = read_status(self._status_fd)

    def close(self) -> None:
        """Let go of everything."""
        self._reactor.close()
        os.close(self._pidfd)
        os.close(self._status_fd)
        self._child.wait()

    @contextmanager
    def process(self) -> Iterator[tuple[ForkedProcess, socket.socket]]:
        """A process that waits for its event, and the guest's end of its connection, which does not block."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        birth = Birth(
            pid=self._child.pid,
            pidfd=os.dup(self._pidfd),
            status_fd=os.dup(self._status_fd),
            status=self._status,
            connection=ours,
        )
        process = ForkedProcess(self._reactor, birth, self)
        try:
            yield process, theirs
        finally:
            theirs.close()
            process.kill()

    def left(self, process: ForkedProcess) -> None:
        """See `processes.Registry`."""

    def autopsy(self, pid: int, done: Callable[[Exit | None], None]) -> None:
        """See `processes.Registry`."""
        done(Exit(pid=pid, status=0))
