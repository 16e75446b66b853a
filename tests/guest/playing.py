"""A host played by the test: it has a real process run `serve` on a real socket, and speaks the real protocol to it.

The process is not sandboxed. Its module is written to a folder and imported by `load`, as in a version zygote.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ropewalk
from ropewalk.wire.control import Imported, ImportFailed, ZygoteReport
from ropewalk.wire.frames import MESSAGE_LIMIT_FROM_GUEST, FrameDecoder, encode_frames
from ropewalk.wire.messages import (
    Answer,
    CallbackCreate,
    CallbackResolve,
    Failure,
    Finished,
    GuestMessage,
    HostMessage,
    Log,
    PriorityRecord,
    Raised,
    Start,
    StoreDelete,
    StoreKeys,
    StoreRead,
    StoreWrite,
    Target,
    TaskRun,
)
from tests.guest.zygote import Job

SCRIPT = Path(__file__).with_name("zygote.py")
SOURCE = Path(ropewalk.__file__).parent.parent
PRIORITY = "6a1c4a6e-0000-4000-8000-000000000001"
INSTANCE = "instance-1"
PREAMBLE = "import asyncio, logging, os, sys, time\nfrom ropewalk import *\nfrom ropewalk.tools import Network, Plot\n"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(GuestMessage).decode
Answering = Callable[[Any], object]


class Gone(Exception):
    """The process ended without a last word."""


class Guest:
    """The process, as the host sees it: what it said so far, and a store and callbacks for the calls that every twist makes."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.connection = connection
        self.pid = pid
        self.calls: list[Any] = []
        self.logs: list[Log] = []
        self.store: dict[tuple[str, str], bytes] = {}
        self.callbacks: dict[str, Target] = {}
        self.answers: dict[type[Any], Answering] = {}
        self._decoder = FrameDecoder(MESSAGE_LIMIT_FROM_GUEST)
        self._pending: list[GuestMessage] = []

    def send(self, message: HostMessage) -> None:
        self.connection.sendall(encode_frames(_encode(message)))

    def receive(self) -> GuestMessage:
        while not self._pending:
            data = self.connection.recv(65536)
            if not data:
                raise Gone
            self._pending += [_decode(message) for message in self._decoder.feed(data)]
        return self._pending.pop(0)

    def next_call(self) -> Any:
        """Return what the process says next, log lines aside."""
        while isinstance(message := self.receive(), Log):
            self.logs.append(message)
        if not isinstance(message, Finished | Raised):
            self.calls.append(message)
        return message

    def answer(self, call: Any, value: object = None) -> None:
        self.send(Answer(id=call.id, value=msgspec.Raw(_encode(value))))

    def last_word(self) -> Finished | Raised:
        """Answer calls until the method has ended; say how."""
        while not isinstance(message := self.next_call(), Finished | Raised):
            self.answer_as_usual(message)
        return message

    def answer_as_usual(self, call: Any) -> None:
        try:
            value = self.answering(call)(call)
        except Exception as error:  # noqa: BLE001 — told to the guest, as the host does
            self.send(Failure(id=call.id, error=type(error).__name__, message=str(error)))
        else:
            self.answer(call, value)

    def result(self) -> Any:
        message = self.last_word()
        assert isinstance(message, Finished), message
        return msgspec.json.decode(message.result)

    def raised(self) -> Raised:
        message = self.last_word()
        assert isinstance(message, Raised), message
        return message

    def lines(self, level: int = 0) -> list[str]:
        return [line.message for line in self.logs if line.level >= level]

    def exit_status(self) -> int:
        """Wait for the process and return how it ended, as `os.waitstatus_to_exitcode` does."""
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def answering(self, call: Any) -> Answering:
        return next((answering for kind, answering in self.answers.items() if isinstance(call, kind)), self._usual)

    def _usual(self, call: Any) -> object:
        match call:
            case StoreRead(ns=ns, keys=keys):
                return {key: self.store[ns, key] for key in keys if (ns, key) in self.store}
            case StoreWrite(ns=ns, items=items):
                self.store |= {(ns, key): value for key, value in items.items()}
            case StoreDelete(ns=ns, keys=keys):
                for key in keys:
                    self.store.pop((ns, key), None)
            case StoreKeys(ns=ns, prefix=prefix):
                return sorted(key for of, key in self.store if of == ns and key.startswith(prefix))
            case CallbackCreate(target=target):
                token = f"cb_{len(self.callbacks)}"
                self.callbacks[token] = target
                return token
            case CallbackResolve(token=token):
                return self.callbacks[token]
            case TaskRun():
                return f"task-{call.id}"
            case _:
                pass
        return None


class Zygote:
    """What forks the processes: one for the whole session."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [
            sys.executable,
            "-c",
            f"import os; os.dup2({theirs.fileno()}, 3); import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')",
        ]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=os.environ | {"PYTHONPATH": str(SOURCE)})
        theirs.close()

    def stop(self) -> None:
        self._control.close()
        self._process.wait(20)

    def fork(self, job: Job) -> tuple[socket.socket, int]:
        """Have a process begin `job`; return the other end of its connection, and its number."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [msgspec.msgpack.encode(job)], [theirs.fileno()])
        ours.settimeout(20)
        return ours, int(self._control.recv(64))


class Version:
    """An author's module in a folder, to run attempts of.

    Args:
        zygote: what forks the processes.
        folder: where the module is written.
        source: the module, after imports of what most need.
        name: the module's.
        strict: whether each attempt imports it.
    """

    def __init__(
        self, zygote: Zygote, folder: Path, source: str, name: str = "twist_under_test", *, strict: bool = False
    ) -> None:
        self.folder = folder
        self._zygote = zygote
        self._job = Job(folder=str(folder), module=name, strict=strict)
        (folder / f"{name}.py").write_text(PREAMBLE + textwrap.dedent(source), encoding="utf-8")

    def load(self, cls: str | None = None) -> Imported | ImportFailed:
        """Import the module in a process of its own, as a version zygote does, and return what it reports."""
        connection, pid = self._zygote.fork(msgspec.structs.replace(self._job, cls=cls))
        with connection:
            packet = b"".join(iter(lambda: connection.recv(65536), b""))
        os.waitpid(pid, 0)
        said: Imported | ImportFailed = msgspec.msgpack.decode(packet, type=ZygoteReport)
        return said

    @contextmanager
    def attempt(
        self, method: str = "main", *args: object, ns: str = "", options: object = None, memory: int = 0, **start: Any
    ) -> Generator[Guest]:
        """Have a process run `method` with `args` bound to it."""
        connection, pid = self._zygote.fork(msgspec.structs.replace(self._job, serve=True, memory=memory))
        guest = Guest(connection, pid)
        bound = start.pop("arguments", msgspec.json.encode([args, {}]))
        target = Target(ns=ns, method=method, arguments=bound)
        guest.send(start_message(target, options=msgspec.json.encode(options or {}), **start))
        try:
            yield guest
        finally:
            connection.close()
            if guest.pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def start_message(target: Target, **fields: Any) -> Start:
    given: dict[str, Any] = {
        "execution": "execution-1",
        "attempt": 1,
        "instance": INSTANCE,
        "version": 3,
        "previous_version": None,
        "trigger": "task",
        "event": b"[]",
        "options": b"{}",
        "priority": PriorityRecord(id=PRIORITY, title="Root"),
        "seed": bytes(range(16)),
        "started_at": 1_700_000_000_000_000,
        "cpu": 60.0,
        "wall": 120.0,
        "requests": 1000,
    }
    return Start(target=target, **(given | fields))


MakeVersion = Callable[[str], Version]
"""What the fixtures `twist` and `module` are."""

IN_BOTH_MODES = pytest.mark.parametrize("strict", ["standard", "strict"], indirect=True)
"""Marks tests whose modules are imported once for all attempts, and then by each attempt."""
