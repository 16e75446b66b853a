"""Runs a recorded attempt again in a process of the sandbox: what it says goes to the `player`, what the player says goes back.

The process is confined and limited as any attempt's. It is ended as soon as there is nothing more to hear; where a person is at its debugger,
the wall time is theirs. Before: `service`, which has found the record and the version. After: whoever shows the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.door.visit import Visit
from ropewalk.replay.door import ReplayedGuest
from ropewalk.replay.player import Difference, End, Player
from ropewalk.replay.script import Script
from ropewalk.sandbox.authority import Authority
from ropewalk.sandbox.interface import Ended, Image, Limits, Process, Source
from ropewalk.wire.messages import Finished, Log, Raised
from ropewalk.wire.replay import Asked, ReplayedMessage, Rerun, Stalled, Told, Typed

PATIENCE: Final = 7 * 86_400.0
"""Seconds that a person may take at the debugger."""

_TOLD_AT_MOST: Final = 64 * 1024 * 1024
"""Bytes that a debugger may write in all: its other end is the author's code."""


class Person(Protocol):
    """Who is at the debugger."""

    def tell(self, text: str) -> None:
        """Show what the debugger wrote."""
        ...

    async def ask(self, prompt: str) -> str:
        """Return the line that is typed, with its end; "" when there will be no more."""
        ...


class Replayed(Struct, frozen=True, kw_only=True):
    """What a replay showed.

    Attributes:
        recorded: how the attempt ended when it was recorded.
        end: how it ended now, None when it was stopped at a difference.
        difference: the first, None when there is none.
        left: whether the person left the debugger before the end.
        notes: what a person should know who reads this.
    """

    recorded: End
    end: End | None
    difference: Difference | None
    left: bool = False
    notes: list[str] = []

    @property
    def same(self) -> bool:
        """Whether everything was as recorded."""
        return self.difference is None and self.end is not None and not self.left


OnLog = Callable[[Log], None]


async def replay(source: Source, image: Image, script: Script, *, on_log: OnLog, person: Person | None = None) -> Replayed:
    """Run a recorded attempt again, in a process of `image`, under the limits that it had.

    Raises:
        RefusedImport: the module cannot be imported.
        SandboxError: there is no process to be had.
    """
    start = script.start
    limits = replace(image.limits, cpu=start.cpu, wall=start.wall, requests=start.requests, logs=start.logs)
    process = await source.take(replace(image, replays=True))
    stage = _Stage(script, limits.requests, on_log, person, source.authority)
    if image.network:
        process.welcome(stage.admit)
    return await stage.run(process, limits if person is None else replace(limits, wall=PATIENCE))


def outcome(player: Player) -> Replayed:
    """Return what a replay that is over has shown."""
    left = player.end is not None and player.end.error is not None and player.end.error.type == "BdbQuit"
    difference = None if left else player.difference
    return Replayed(recorded=player.recorded_end, end=player.end, difference=difference, left=left, notes=player.notes)


class _Stage:
    """One replay, from its process's start to its end."""

    def __init__(self, script: Script, requests: int, on_log: OnLog, person: Person | None, authority: Authority) -> None:
        self._script = script
        self._player = Player(script, requests)
        self._on_log = on_log
        self._person = person
        self._process: Process | None = None
        guest = ReplayedGuest(self._player, script.start.started_at, on_log, self._look)
        self._visit = Visit(guest, authority)
        self.admit = self._visit.admit
        """Serves a connection that its clients make to the door."""
        self._asking: asyncio.Task[None] | None = None
        self._left_to_tell = _TOLD_AT_MOST
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, process: Process, limits: Limits) -> Replayed:
        """Have the process run the attempt, and return what it showed."""
        self._process = process
        process.listen(self._on_message, self._on_end)
        raised_then = isinstance(self._script.last, Raised)
        rerun = Rerun(start=self._script.start, debug=self._person is not None, stop_first=not raised_then)
        try:
            process.start(rerun, limits)
            await self._over
        finally:
            process.kill("ended")
            await self._visit.end()
            if self._asking is not None:
                self._asking.cancel()
        return outcome(self._player)

    def _on_message(self, message: ReplayedMessage) -> None:
        match message:
            case Log():
                self._on_log(message)
            case Told():
                self._tell(message.text)
            case Asked():
                self._ask(message.prompt)
            case _:
                told = self._player.hear(message)
                if told is not None:
                    self._require_process().send(told)
                self._end_if_over(message)

    def _end_if_over(self, message: ReplayedMessage) -> None:
        """End when there is nothing more to hear; who looks at a difference says when."""
        looking = self._person is not None and not isinstance(message, Finished | Raised | Stalled)
        if self._player.over and not looking:
            self._end()

    def _look(self) -> None:
        """End when a request of a client's was the last that there is to hear."""
        if self._player.over:
            self._end()

    def _on_end(self, ended: Ended) -> None:
        kind = ended.limit or "crash"
        self._player.ended(kind, f"the process ended ({ended.limit or 'by itself'})")
        self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    # ── The person ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, text: str) -> None:
        self._left_to_tell -= len(text)
        if self._person is not None and self._left_to_tell > 0:
            self._person.tell(text)

    def _ask(self, prompt: str) -> None:
        if self._person is None or self._asking is not None:
            self._require_process().kill("protocol")  # there is nobody to ask, or somebody is being asked
            return
        self._asking = asyncio.create_task(self._answer(self._person.ask(prompt)))

    async def _answer(self, typing: Awaitable[str]) -> None:
        try:
            line = await typing
        finally:
            self._asking = None
        self._require_process().send(Typed(line=line))

    def _require_process(self) -> Process:
        assert self._process is not None
        return self._process
