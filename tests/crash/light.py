"""Light processes: tasks of the node's own, in place of sandboxed ones, that speak the wire's messages.

What the campaign is about is what the host makes durable, and that sees messages and nothing else of a guest. So thousands of executions,
and of nodes, take as long as they take the database. What is said is taken down as of any process, and a light process can be told to run a
recorded attempt again. `guests` has what they do.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ropewalk.sandbox.interface import Ended, Figures, Image, Limits, OnConnection, OnEnd, OnMessage, ProcessUsage, Tap
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import Answer, Failure, Finished, Message, Raised, Start
from ropewalk.wire.replay import Played, ReplayingHostMessage, Rerun, Stalled
from tests.crash.guests import Crash, Guest, Raise
from tests.crash.versions import Code
from tests.crash.watched import Journal

_encode = msgspec.msgpack.Encoder().encode


class LightProcess:
    """A task in place of a process; implements `sandbox.interface.Process`."""

    pid = 0

    def __init__(self, code: Code, journal: Journal) -> None:
        self._code = code
        self._journal = journal
        self._guest: Guest | None = None
        self._task: asyncio.Task[None] | None = None
        self._tap: Tap = lambda _: None
        self._is_over = False

    def welcome(self, on_connection: OnConnection) -> None:
        """Light guests make no connections."""

    def listen(self, on_message: OnMessage, on_end: OnEnd, tap: Tap | None = None) -> None:
        self._on_message, self._on_end = on_message, on_end
        self._tap = tap or self._tap

    def start(self, message: ReplayingHostMessage, limits: Limits) -> None:
        self._tap(_encode(message))
        start = message.start if isinstance(message, Rerun) else message
        assert isinstance(start, Start)
        self._guest = Guest(start, self._code, self._say)
        self._task = asyncio.create_task(self._run(self._guest))

    async def _run(self, guest: Guest) -> None:
        try:
            await asyncio.sleep(0)
            await guest.run()
            self._say(Finished(result=b"null"))
            self._end(Ended(code=0))
        except Raise as raised:
            after = 3.0 if raised.kind == "retry" else None
            self._say(Raised(kind=raised.kind, type="Failed", message=raised.kind, traceback="", after=after))
            self._end(Ended(code=0))
        except Crash as crash:
            self._end(Ended(signal=9, limit=crash.limit))
        except Exception as fault:  # noqa: BLE001 - a fault of this package's own is told, and ends the process as any would
            self._journal(fault=repr(fault))
            self._end(Ended(code=1))

    def _say(self, message: Message) -> None:
        if not self._is_over:
            self._tap(_encode(message))
            self._on_message(message)

    def pause(self) -> None:
        """Guests wait for their answers anyhow."""

    def resume(self) -> None:
        """Nothing was paused."""

    def send(self, message: ReplayingHostMessage) -> None:
        if self._guest is None or self._is_over:
            return
        self._tap(_encode(message))
        match message:
            case Played(reply=None):
                self._say(Stalled())
            case Played(reply=Answer() | Failure() as reply):
                self._guest.hear(reply)
            case Answer() | Failure():
                self._guest.hear(message)
            case _:
                raise AssertionError(f"a guest is told {message}")

    async def taken(self) -> None:
        """What is sent is taken at once."""

    def usage(self) -> ProcessUsage:
        return ProcessUsage(cpu=0.001, memory_peak=0, wall=0.001)

    def kill(self, limit: str | None = None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._end(Ended(signal=9, limit=limit))

    def _end(self, ended: Ended) -> None:
        if not self._is_over:
            self._is_over = True
            asyncio.get_running_loop().call_soon(self._on_end, ended)


class LightSource:
    """Gives light processes; implements `sandbox.interface.Source`.

    Attributes:
        codes: what bundles hold, by their digests.
    """

    room = Figures()
    authority: Any = None
    hash_seed = 0

    def __init__(self, journal: Journal) -> None:
        self.codes: dict[str, Code] = {}
        self._journal = journal

    async def start(self) -> None:
        """There is nothing to start."""

    async def stop(self) -> None:
        """There is nothing to stop."""

    async def describe(self, image: Image) -> Manifest:
        return self.codes[image.bundle].manifest

    async def take(self, image: Image) -> LightProcess:
        return LightProcess(self.codes[image.bundle], self._journal)
