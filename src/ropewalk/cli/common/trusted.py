"""A replay without a sandbox: `replay --trust` runs the twist's code in the command's own process, where any debugger can attach.

The same player answers, the same clock goes on from when the attempt ran; no limit holds, and sets of texts may have another order. The process
is of no other use afterwards: its time is not the machine's any more.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from pathlib import Path
from typing import Final, NoReturn

import msgspec
from msgspec import Struct

from ropewalk.guest import virtual
from ropewalk.guest.author import load_plan
from ropewalk.guest.channel import encode_message
from ropewalk.guest.debugger import Debugger
from ropewalk.guest.logs import BookHandler
from ropewalk.guest.replaying import ReplayChannel, ReplayedInvocation
from ropewalk.replay.player import Player
from ropewalk.replay.rerun import OnLog, Replayed, outcome
from ropewalk.replay.script import Script
from ropewalk.sandbox.interface import RefusedImport
from ropewalk.service import bundles
from ropewalk.wire.control import Import, ImportFailed
from ropewalk.wire.frames import MESSAGE_LIMIT_FROM_HOST, FrameDecoder, encode_frames
from ropewalk.wire.messages import Log, Raised
from ropewalk.wire.plan import PACKAGES
from ropewalk.wire.replay import ReplayedMessage, Rerun

_decode: Final = msgspec.msgpack.Decoder(ReplayedMessage).decode


class Place(Struct, frozen=True, kw_only=True):
    """Where the code is: the folder that its modules are found in, the module, and its class where the manifest names one."""

    folder: Path
    module: str
    cls: str | None


def place_of_code(path: Path, database: Path) -> Place:
    """Return where the code of a file or a project is, its own files. Raises BundleError."""
    packed = bundles.pack(path, database=database)
    folder = path if path.is_dir() else path.parent
    return Place(folder=folder.absolute(), module=packed.module, cls=packed.cls)


def replay_here(script: Script, place: Place, *, on_log: OnLog, debug: bool) -> Replayed:
    """Run a recorded attempt again in this process, and return what it showed.

    Raises:
        RefusedImport: the module cannot be imported.
    """
    virtual.install()
    sys.path[:0] = [str(place.folder), str(place.folder / PACKAGES)]
    streams = sys.stdin, sys.stdout, sys.stderr
    request = Import(module=place.module, cls=place.cls, memory=0, cpu=0.0)
    plan = load_plan(request, str(place.folder))
    sys.stdin, sys.stdout, sys.stderr = streams  # what it prints is for the person who is here
    logging.getLogger().handlers = [one for one in logging.getLogger().handlers if isinstance(one, BookHandler)]
    if isinstance(plan, ImportFailed):
        raise RefusedImport(plan.type, plan.message, plan.traceback)
    player = Player(script, script.start.requests, has_door=False)
    rerun = Rerun(start=script.start, debug=debug, stop_first=not isinstance(script.last, Raised))
    host = _Host(player, rerun, on_log)
    channel = _Channel(-1, host.read, host.write)
    try:
        channel.finish(ReplayedInvocation(plan, channel).run(channel.wait_for_start()))
    except _Stopped:
        pass
    return outcome(player)


class _Stopped(BaseException):
    """There is nothing more to hear: passes through the author's code, and ends it."""


class _Channel(ReplayChannel):
    """A channel whose other end is in the same process, and so is the person."""

    def attach_debugger(self, *, debug: bool) -> None:
        """Have Python's own debugger; `breakpoint()` is whatever it is here."""
        self.debugger = Debugger() if debug else None

    def stall(self, *, out_of_time: bool = False) -> NoReturn:
        """Say that there is nothing more to wait for, and end."""
        self.say_stalled(out_of_time=out_of_time)
        raise _Stopped


class _Host:
    """The host's end: what is written to it is heard by the player at once, and what that says can be read."""

    def __init__(self, player: Player, rerun: Rerun, on_log: OnLog) -> None:
        self._player = player
        self._on_log = on_log
        self._frames = FrameDecoder(MESSAGE_LIMIT_FROM_HOST)
        self._said = deque([encode_frames(encode_message(rerun))])

    def read(self, _fd: int, _size: int) -> bytes:
        """Say the next thing."""
        return self._said.popleft()

    def write(self, _fd: int, frames: bytes | memoryview) -> int:
        """Hear something."""
        for message in self._frames.feed(bytes(frames)):
            self._hear(_decode(message))
        return len(frames)

    def _hear(self, message: ReplayedMessage) -> None:
        if isinstance(message, Log):
            self._on_log(message)
            return
        told = self._player.hear(message)
        if told is not None:
            self._said.append(encode_frames(encode_message(told)))
        elif self._player.over:
            raise _Stopped
