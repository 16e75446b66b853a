"""Goes through the motions of an attempt before any fork, with a host that is played in memory and a twist of our own.

What an attempt touches for the first time costs it dear: pages that the fork shares are copied, caches are filled, Python specialises the
code it runs. Done once in the zygote, every attempt after it finds all that in place. No author's code runs, and nothing stays open.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from ropewalk.guest.author import plan_class
from ropewalk.guest.channel import Channel, encode_message
from ropewalk.guest.invocation import Invocation
from ropewalk.guest.logs import OUTPUT
from ropewalk.guest.plan import Plan, build
from ropewalk.sdk.host import Running
from ropewalk.sdk.twist import Twist
from ropewalk.wire import messages
from ropewalk.wire.frames import encode_frames
from ropewalk.wire.messages import Answer, PriorityRecord, Start, Target

_OFTEN: Final = 40
"""Runs after which Python has specialised what it will."""

_AGAIN: Final = 3

_UUID: Final = "00000000-0000-0000-0000-000000000000"


class Rehearsed(Twist):
    """Does what most twists do most."""

    async def light(self, number: int) -> int:
        """Read, write, and go on in another task."""
        state = await self.get("state", dict[str, int])
        await self.set("state", {"number": number, "before": state})
        await self.run_task(self.light, number)
        return number

    async def plain(self) -> None:
        """Do nothing."""

    async def looping(self) -> None:
        """Have an event loop."""
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
        async with asyncio.timeout(1):
            await asyncio.sleep(0)

    async def failing(self) -> None:
        """Raise."""
        self.log.info("about to fail: %s", 1, extra={"number": 1})
        raise ValueError("on purpose")


class PlayedChannel(Channel):
    """A channel whose other end is played here: every call is answered at once with what it expects."""

    def __init__(self) -> None:
        super().__init__(-1)
        self._said: list[bytes] = []

    async def call(self, message: messages.Call) -> Any:
        """Prepare the answer, then ask as always."""
        value: object = {"state": b'{"number":1}'} if type(message) is messages.StoreRead else "token"
        self.hear(Answer(id=message.id, value=msgspec.Raw(msgspec.msgpack.encode(value))))
        return await super().call(message)

    def hear(self, message: messages.HostMessage) -> None:
        """Have this read next."""
        self._said.append(encode_frames(encode_message(message)))

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the loop alone: it has nothing to read."""

    def _read(self) -> bytes:
        return self._said.pop()

    def _write(self, frames: bytes) -> None:
        """Say nothing to nobody."""


def rehearse(times: int = _OFTEN) -> None:
    """Run our own twist's methods, `times` times: once in the root zygote, for every version."""
    plan = plan_class(Rehearsed, 0)
    for _ in range(times):
        _run(plan, "light", b"[[1],{}]")
        _run(plan, "plain")
    _run(plan, "failing")
    _run(plan, "looping")


def warm(plan: Plan) -> None:
    """Make a version's zygote ready: its twist and tools are put together, and our own twist runs again."""
    for _ in range(_AGAIN):
        build(plan, Running(PlayedChannel()))
    rehearse(_AGAIN)


def _run(plan: Plan, method: str, arguments: bytes = b"[[],{}]") -> None:
    channel = PlayedChannel()
    invocation = Invocation(plan, channel)
    channel.hear(
        Start(
            execution="",
            attempt=1,
            instance="",
            version=1,
            previous_version=None,
            trigger="task",
            target=Target(ns="", method=method, arguments=arguments),
            event=b"[]",
            options=b"{}",
            priority=PriorityRecord(id=_UUID, title=""),
            seed=bytes(16),
            started_at=0,
            cpu=60.0,
            wall=60.0,
            requests=1000,
        )
    )
    channel.finish(invocation.run(channel.wait_for_start()))
    invocation.close()
    OUTPUT.book.close()
