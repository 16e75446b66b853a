"""Where an attempt's process comes from, and what may be done with it.

A `Source` gives processes that run the author's code of one version, each pristine and used once. Today they are forked from the
version's zygote; another source may give them otherwise, as long as nothing that one execution wrote can be seen by the next.
The dispatcher comes before, the guest's code after.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from ropewalk.wire.control import LimitsInfo, Manifest
from ropewalk.wire.replay import ReplayingHostMessage

if TYPE_CHECKING:
    from ropewalk.sandbox.authority import Authority


class SandboxError(Exception):
    """The sandbox cannot be had on this host, or its own processes failed: not the author's doing."""


class RefusedImport(Exception):
    """The author's module cannot be a version: it raised at import, hung, holds no twist, or is not well formed.

    `type` is the exception's class name, `message` says what and where, `traceback` is the author's.
    """

    def __init__(self, type: str, message: str, traceback: str = "") -> None:  # noqa: A002 — the word used on the wire
        super().__init__(message)
        self.type = type
        self.message = message
        self.traceback = traceback


def bound_of(memory: int) -> int:
    """Return what the kernel lets a process map that may use `memory` bytes: a tenth more, so that it is seen to pass its limit."""
    return memory + memory // 10


class Limits(Struct, frozen=True, kw_only=True):
    """What one execution may use: seconds of CPU and wall time, bytes of memory beyond the pristine image, requests, bytes of logs."""

    cpu: float = 60.0
    wall: float = 120.0
    memory: int = 128 * 1024 * 1024
    requests: int = 1000
    logs: int = 256 * 1024

    @property
    def memory_bound(self) -> int:
        """Bytes beyond the pristine image that the kernel lets a process map; see `bound_of`."""
        return bound_of(self.memory)

    def lowered_by(self, asked: LimitsInfo) -> Limits:
        """Return these limits with what the twist asks to be lower."""
        return Limits(
            cpu=min(self.cpu, asked.cpu or self.cpu),
            wall=min(self.wall, asked.wall or self.wall),
            memory=min(self.memory, asked.memory or self.memory),
            requests=min(self.requests, self.requests if asked.requests is None else asked.requests),
            logs=min(self.logs, self.logs if asked.logs is None else asked.logs),
        )


class Image(Struct, frozen=True, kw_only=True):
    """What a version's processes are made of: its bundle (a folder's name below the bundles' root), module, class and limits.

    With `strict` each process imports the module itself when its event has come: nothing of the author's runs before, and nothing that
    runs at import outlives the attempt.

    With `network` its processes may connect to the door: its version declares Network.

    An import may take as much memory as an execution, or `import_memory` bytes where that is more: what it takes is the image that every
    process begins with, and counts against none of them.

    With `replays` the processes are for recorded attempts: they may say what a replay says, and no live event may be given to them.
    """

    bundle: str
    module: str
    cls: str | None
    limits: Limits
    strict: bool = False
    network: bool = False
    import_memory: int = 0
    replays: bool = False

    @property
    def memory_to_import(self) -> int:
        """Bytes that its import may take."""
        return max(self.limits.memory, self.import_memory)


class Ended(Struct, frozen=True, kw_only=True):
    """How a process ended: by `signal`, or with `code`; both None when it is not known. `limit` names the limit that ended it
    (`timeout`, `cpu_limit`, `memory_limit`, `thread_limit`, `protocol`: it said what is no message), None when it ended by itself or by `kill()` without a reason.
    """

    signal: int | None = None
    code: int | None = None
    limit: str | None = None


class ProcessUsage(Struct, frozen=True, kw_only=True):
    """What a process has used so far: seconds of CPU, peak bytes beyond what a waiting process has, seconds since its start.

    Of one that was ended for a limit it is what it had used when it was ended, though that may be told later.
    """

    cpu: float
    memory_peak: int
    wall: float


class Figures(Struct, frozen=True, kw_only=True):
    """The memory of a node for processes at a moment: bytes in all and taken, and how many wait for some."""

    memory: int = 0
    taken: int = 0
    waiting: int = 0


OnMessage = Callable[[Any], None]
"""Given each `GuestMessage`; of a process for replays, each `ReplayedMessage`."""

OnEnd = Callable[[Ended], None]
Tap = Callable[[bytes], None]
"""Given each message as it was read or sent, before anybody acts on it."""
OnConnection = Callable[[socket.socket], None]
"""Takes a connection, which does not block, and sees to its end."""


class Process(Protocol):
    """One pristine process, connected, waiting for its only Start.

    Its life: `listen` once, `start` once, then `on_message` for each thing that the guest says, in order, and `on_end` exactly once.
    Both are plain functions, called from the event loop; they must not block, and must not raise. After Finished or Raised the process is
    killed and `on_end` comes at once. What `usage` says is right at any time: during those calls, and afterwards.
    """

    @property
    def pid(self) -> int:
        """Its number on the host."""
        ...

    def listen(self, on_message: OnMessage, on_end: OnEnd, tap: Tap | None = None) -> None:
        """Say who is told what the guest says and how it ended, and who takes down what is said. `on_end` is never called from within
        this or any other method.
        """
        ...

    def start(self, message: ReplayingHostMessage, limits: Limits) -> None:
        """Send Start and set the limits running: when one is passed the process is killed and `on_end` says which."""
        ...

    def welcome(self, on_connection: OnConnection) -> None:
        """Say who is given the connections that it makes to the door while it runs; without one they are closed. Before `start`."""
        ...

    def pause(self) -> None:
        """Read nothing more from it until `resume`; what has been read already is still delivered."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def send(self, message: ReplayingHostMessage) -> None:
        """Send without waiting. A guest that does not read is killed when what is kept for it passes 48 MiB. Nothing after its end."""
        ...

    async def taken(self) -> None:
        """Return when it has read all that it was sent, or has ended."""
        ...

    def usage(self) -> ProcessUsage:
        """What it has used so far, since `start`."""
        ...

    def kill(self, limit: str | None = None) -> None:
        """End it now; `limit` is what `on_end` will be told. Nothing that it said or says is delivered from here on."""
        ...


class Source(Protocol):
    """Gives processes.

    Attributes:
        hash_seed: what all of them hash texts by, so that sets of texts have the same order in each.
    """

    hash_seed: int

    @property
    def room(self) -> Figures:
        """The memory for processes, how much of it is taken, and how many wait for some."""
        ...

    @property
    def authority(self) -> Authority:
        """Whose word the processes take for it that a TLS server is who it says."""
        ...

    async def start(self) -> None:
        """Make everything that is needed before the first process. Raises SandboxError, naming what is missing and the remedy."""
        ...

    async def stop(self) -> None:
        """End every process, whatever it is doing."""
        ...

    async def describe(self, image: Image) -> Manifest:
        """Import a version's module and return what it declares. Raises RefusedImport."""
        ...

    async def take(self, image: Image) -> Process:
        """Return a waiting process of a version, making its zygote first if it is not there. Raises RefusedImport, SandboxError.

        Where there is not the room for all that it may use, this waits until there is.
        """
        ...
