"""A root zygote for tests, not sandboxed: a small process that forks, without Python's hooks, what loads modules and runs attempts.

It is run as a script; descriptor 3 is its control socket. The processes become children of the test's own process, as in the sandbox
they become those of the root zygote.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from ropewalk.guest import attempt, author, kernel, rehearsal
from ropewalk.wire.control import Import

CONTROL = 3


class Job(msgspec.Struct):
    """Load a module and, with `serve`, run an attempt of its twist; with `memory`, within so many bytes more than it has then."""

    folder: str
    module: str
    cls: str | None = None
    serve: bool = False
    memory: int = 0
    strict: bool = False


def main() -> None:
    rehearsal.rehearse()
    control = socket.socket(fileno=CONTROL)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
        if not packet:
            return
        pid = kernel.clone(kernel.CLONE_PARENT)
        if pid == 0:
            run(msgspec.msgpack.decode(packet, type=Job), descriptors[0])
        os.close(descriptors[0])
        control.send(str(pid).encode())


def run(job: Job, connection: int) -> None:
    try:
        sys.path.insert(0, job.folder)
        request = Import(module=job.module, cls=job.cls, memory=job.memory, cpu=60.0, strict=job.strict)
        if not job.serve:
            _, described = author.load(request, job.folder)
            _write(connection, msgspec.msgpack.encode(described))
            return
        serve, said = attempt.prepare(connection, request, job.folder)
        if serve is None:
            sys.__stderr__.write(f"{said}\n")  # type: ignore[union-attr]
        else:
            if job.memory:
                _limit_memory(job.memory)
            serve(False)
    finally:
        os._exit(1)


def _write(connection: int, data: Any) -> None:
    while data:
        data = data[os.write(connection, data) :]


def _limit_memory(beyond: int) -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    allowed = pages * resource.getpagesize() + beyond
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))


if __name__ == "__main__":
    main()
