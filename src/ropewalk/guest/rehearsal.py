"""Goes through the motions of an attempt before any fork, with a host that is played in memory and a method of our own.

What an attempt touches for the first time costs it dear: pages that the fork shares are copied, caches are filled, Python specialises the
code it runs. Done once in the zygote, every attempt after it finds all that in place. What Python learns it learns for one class, so
the version's zygote does most of it, with the author's. No author's code runs, and nothing stays open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ropewalk.guest.author import plan_class
from ropewalk.guest.channel import Channel, encode_message
from ropewalk.guest.invocation import Invocation, Part
from ropewalk.guest.logs import OUTPUT
from ropewalk.guest.plan import Plan
from ropewalk.sdk.methods import methods_of
from ropewalk.sdk.tokens import CALLBACK_PREFIX
from ropewalk.sdk.twist import Twist
from ropewalk.sdk.unit import Unit
from ropewalk.sdk.values import reader_of
from ropewalk.wire.frames import encode_frames
from ropewalk.wire.messages import Answer, HostMessage, PriorityRecord, Start, Target

_FEW: Final = 3
"""Runs in the root zygote: enough to make what is made on first use, too few for Python to specialise for the wrong class."""

_OFTEN: Final = 10
"""Runs in a version's zygote, after which Python has specialised what it will."""

_OFTEN_READ: Final[tuple[Any, ...]] = (
    str,
    int,
    float,
    bool,
    list,
    dict,
    list[str],
    dict[str, Any],
    dict[str, int],
    dict[str, str],
)
"""Types that values are often read as."""

_UUID: Final = "00000000-0000-0000-0000-000000000000"


class Rehearsed(Twist):
    """A twist to rehearse with."""

    async def plain(self) -> None:
        """Do nothing."""

    async def failing(self) -> None:
        """Raise."""
        self.log.info("about to fail: %s", 1, extra={"number": 1})
        raise ValueError("on purpose")

    async def looping(self) -> None:
        """Have an event loop."""
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
        async with asyncio.timeout(1):
            await asyncio.sleep(0)


async def light(twist: Twist) -> None:
    """Do what most methods do: read and write."""
    state = await Twist.get(twist, "state", dict[str, int])
    await Twist.set(twist, "state", {"before": state})


async def longer(twist: Twist) -> None:
    """Do what many methods do: read, write, go on in another task."""
    await light(twist)
    await Twist.run_task(twist, CALLBACK_PREFIX)


async def onward(twist: Twist) -> None:
    """Do what most methods that go on do."""
    await light(twist)
    await Twist.run_task(twist, "plain")


class DeafChannel(Channel):
    """A channel that has nothing for an event loop to read."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the loop alone."""


class PlayedHost:
    """Says what it was given to say, and takes everything that it is told."""

    def __init__(self, *says: HostMessage) -> None:
        self._said = [encode_frames(encode_message(message)) for message in reversed(says)]

    def read(self, _fd: int, _size: int) -> bytes:
        """Say the next thing."""
        return self._said.pop()

    def write(self, _fd: int, frames: bytes | memoryview) -> int:
        """Take all of it."""
        return len(frames)


def rehearse() -> None:
    """Run our own twist: once in the root zygote, for every version."""
    for kind in _OFTEN_READ:
        reader_of(kind)
    for _ in range(_FEW):
        _perform(_OURS, Channel, "plain", onward)
    for method in ("plain", "failing", "looping"):
        _perform(_OURS, DeafChannel, method)


def warm(plan: Plan) -> None:
    """Make a version's zygote ready: events on their way to a method, and a twist of the version's that does what most do."""
    for name in (*vars(Unit), *methods_of(plan.cls)):
        getattr(plan.cls, name, None)
    for _ in range(_OFTEN):
        _perform(_OURS, Channel, "plain")
        _perform(plan, Channel, "", longer)


def once_more(plan: Plan | None) -> Callable[[], None]:
    """Make an attempt of `plan`, or of our own twist, and return what runs it, once.

    A process that has just been forked runs it before its event has come. What is touched meanwhile is what the event's way will touch,
    so that the pages have been copied when someone waits for them.
    """
    return _made(plan if plan is not None and _is_quiet(plan) else _OURS, Channel, "", light)


def _is_quiet(plan: Plan) -> bool:
    """Whether none of the author's code runs by itself when a twist is made and asked for its attributes."""
    return not plan.prepares and plan.cls.__getattribute__ is object.__getattribute__


def _perform(plan: Plan, kind: type[Channel], method: str, part: Part | None = None) -> None:
    """Be an attempt of `plan` that runs `method`, or `part` in its place."""
    _made(plan, kind, method, part)()


def _made(plan: Plan, kind: type[Channel], method: str, part: Part | None) -> Callable[[], None]:
    start = Start(
        execution="",
        attempt=1,
        instance="",
        version=1,
        previous_version=None,
        trigger="task",
        target=Target(ns="", method=method),
        event=b"[]",
        options=b"{}",
        priority=PriorityRecord(id=_UUID, title=""),
        seed=bytes(16),
        started_at=0,
        cpu=60.0,
        wall=60.0,
        requests=1000,
        store={"": {"state": b'{"number":1}'}},
        ahead=4096,
        task_ids=_UUID,
    )
    host = PlayedHost(start, Answer(id=1, value=_TOKEN))
    channel = kind(-1, host.read, host.write)
    invocation = Invocation(plan, channel)

    def run() -> None:
        channel.finish(invocation.run(channel.wait_for_start(), part))
        invocation.close()
        OUTPUT.book.close()

    return run


_OURS: Final = plan_class(Rehearsed, 0)
_TOKEN: Final = msgspec.Raw(msgspec.msgpack.encode("token"))
"""What is said to `longer`, which asks for a task that it has to wait for."""
