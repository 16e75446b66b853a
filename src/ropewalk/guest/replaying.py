"""A replay from the inside: every call is shown to the host at once, which says what the record has; time leaps to when that was.

The host answers each call before the next is made, also those that nobody waits for, so that a difference is found at its line. What takes
its time (answers, sleeps, timeouts) is put into the order of the recorded times, and then takes none: a loop with nothing to do leaps to what
comes next. Where other threads run, or sockets are open, time goes at its own pace instead.

Before: `attempt`, in a process that was made for replaying. After: the host's `replay`.
"""

from __future__ import annotations

import signal
import sys
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice
from types import FrameType
from typing import Any, Final, NoReturn

import msgspec

from ropewalk.guest.author import file_name
from ropewalk.guest.channel import Channel, encode_message
from ropewalk.guest.debugger import Debugger, Screen, is_ours
from ropewalk.guest.invocation import Invocation
from ropewalk.guest.loop import Driver
from ropewalk.guest.plan import Plan
from ropewalk.guest.virtual import CLOCK, take_drawn
from ropewalk.wire.frames import encode_frames
from ropewalk.wire.messages import Answer, Failure, Start
from ropewalk.wire.replay import Asked, Played, Rerun, Stalled, Standing, Told, Typed

_DRIVER: Final = Driver.run.__code__.co_filename
_MICRO: Final = 1_000
_LINES: Final = 50
_LINE: Final = 500

_decode_rerun: Final = msgspec.msgpack.Decoder(Rerun).decode
_decode_reply: Final = msgspec.msgpack.Decoder(Played | Typed).decode


class ReplayChannel(Channel):
    """A channel whose calls are answered from a record.

    Attributes:
        debugger: where a person looks on, None when nobody does.
    """

    __slots__ = ("_attached_at", "_ends_at", "debugger", "stop_first")

    debugger: Debugger | None
    _ends_at: int
    _attached_at: tuple[int, float]

    # ── What the attempt sees ────────────────────────────────────────────────────────────────────────────────────────────────

    def wait_for_start(self) -> Start:
        """Wait for the event, and have the clock be what it was."""
        rerun: Rerun = self._next(_decode_rerun)
        start = rerun.start
        self._limit, self._ahead = start.requests, start.ahead
        self.stop_first = rerun.stop_first
        self.attach_debugger(debug=rerun.debug)
        CLOCK.set(start.started_at * _MICRO)
        self._ends_at = CLOCK.wall() + round(start.wall * 1e9)
        return start

    def attach_debugger(self, *, debug: bool) -> None:
        """Have a debugger at the other end, or none."""
        self.debugger = Debugger(Screen(self.ask, self.tell)) if debug else None
        sys.breakpointhook = self._break if debug else _no_break

    def finish(self, last_word: bytes) -> None:
        """Send the last word, after what it may depend on."""
        self._outbox.append(self._standing([]))
        super().finish(last_word)

    def attach(self, loop: AbstractEventLoop) -> None:
        """Have the loop leap to what comes next when it has nothing to do; answers are not for it to read."""
        self._flush()
        self._loop = loop
        self._attached_at = CLOCK.wall(), loop.time()
        selector: Any = vars(loop)["_selector"]
        selector.select = Leaps(selector.select, selector.get_map, self._leap)

    # ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_along(self, frames: bytes) -> None:
        self._play(frames)

    def _exchange(self, frames: bytes, number: int) -> Answer | Failure:
        played = self._play(frames)
        if played.reply is None:
            self.stall()
        CLOCK.leap_to(played.at * _MICRO)
        return played.reply

    async def _pipelined(self, frames: bytes, number: int, loop: AbstractEventLoop) -> Answer | Failure:
        played = self._play(frames)
        future: Future[Answer | Failure] = loop.create_future()
        if played.reply is not None:
            # By one reading of the clock for all: those whose time is over already come in the order in which they came then.
            wall, time = self._attached_at
            loop.call_at(time + (played.at * _MICRO - wall) / 1e9, _settle, future, played.reply)
        return await future

    def _play(self, frames: bytes) -> Played:
        """Show a call to the host and return what became of it; at a difference, this is the end."""
        self._outbox.append(self._standing(_author_lines()))
        self._send(frames)
        played = self._next(_decode_reply)
        assert isinstance(played, Played)
        if played.difference is not None:
            if self.debugger is not None:
                self.debugger.look(_author_frame(), played.difference)
            self.stall()
        return played

    def _standing(self, lines: list[str]) -> bytes:
        standing = Standing(lines=lines, drawn=take_drawn(), read_clock=CLOCK.was_read)
        return encode_frames(encode_message(standing))

    def _next(self, decode: Callable[[bytes], Any]) -> Any:
        while True:
            for message in self._receive():
                return decode(message)

    # ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _leap(self, seconds: float | None) -> None:
        """Have time pass that the method waits; None when it would wait for ever."""
        if seconds is None:
            self.stall()
        CLOCK.leap(round(seconds * 1e9))
        self.check_time()

    def check_time(self) -> None:
        """End here when the method's time is over."""
        if CLOCK.wall() > self._ends_at:
            self.stall(out_of_time=True)

    def stall(self, *, out_of_time: bool = False) -> NoReturn:
        """Say that there is nothing more to wait for, and wait to be ended."""
        self.say_stalled(out_of_time=out_of_time)
        while True:
            signal.pause()

    def say_stalled(self, *, out_of_time: bool) -> None:
        """Say that there is nothing more to wait for."""
        self._send(encode_frames(encode_message(Stalled(out_of_time=out_of_time))))

    # ── The debugger ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def tell(self, text: str) -> None:
        """Have the person read something."""
        self._send(encode_frames(encode_message(Told(text=text))))

    def ask(self, prompt: str) -> str:
        """Return the line that the person types."""
        self._send(encode_frames(encode_message(Asked(prompt=prompt))))
        typed = self._next(_decode_reply)
        assert isinstance(typed, Typed)
        return typed.line

    def _break(self, *_: object, **__: object) -> None:
        if self.debugger is not None:
            self.debugger.set_trace(sys._getframe(1))  # noqa: SLF001 — the line that called breakpoint()


def _no_break(*_: object, **__: object) -> None:
    """Go on: there is nobody to look."""


class Leaps:
    """A selector's `select` that lets no time pass when nothing but time is waited for.

    Args:
        select: the selector's own.
        watched: what it watches; the loop's own descriptor is always among it.
        leap: lets time pass at once.
    """

    def __init__(
        self, select: Callable[[float | None], Any], watched: Callable[[], Any], leap: Callable[[float | None], None]
    ) -> None:
        self._select = select
        self._watched = watched
        self._leap = leap

    def __call__(self, timeout: float | None = None) -> Any:
        """Return what is ready."""
        if len(self._watched()) > 1 or threading.active_count() > 1:
            return self._select(timeout)
        ready = self._select(0)
        if not ready and (timeout is None or timeout > 0):
            self._leap(timeout)
        return ready


def _settle(future: Future[Any], reply: Answer | Failure) -> None:
    if not future.done():
        future.set_result(reply)


class ReplayedInvocation(Invocation):
    """An event's way through the author's code, with a person looking on where there is one."""

    def __init__(self, plan: Plan, channel: ReplayChannel) -> None:
        super().__init__(plan, channel)
        self._driver = DebuggedDriver(channel)


class DebuggedDriver(Driver):
    """Runs the method's coroutine; lets the debugger stop on its first line, and at what it raises."""

    def __init__(self, channel: ReplayChannel) -> None:
        super().__init__(channel.attach)
        self._channel = channel

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run the coroutine to its end and return its result. Raises what it raises."""
        debugger = self._channel.debugger
        if debugger is None:
            return super().run(coroutine)
        if self._channel.stop_first:
            debugger.stop_at_first_line()
        try:
            return super().run(coroutine)
        except BaseException as error:
            debugger.look_at(error)
            raise
        finally:
            sys.settrace(None)


def _author_frame() -> FrameType:
    """Return the innermost frame of the author's, or of a package's that the author uses."""
    here = sys._getframe(1)  # noqa: SLF001 — where a call comes from is what is asked
    return next(_author_frames(here), here)


def _author_lines() -> list[str]:
    """Return where the method stands, the innermost line last."""
    frames = islice(_author_frames(sys._getframe(1)), _LINES)  # noqa: SLF001 — as above
    return [f"{file_name(one.f_code.co_filename)}:{one.f_lineno} in {one.f_code.co_qualname}"[:_LINE] for one in frames][::-1]


def _author_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames from one outwards that are not the runtime's, up to where the method began."""
    while frame is not None and frame.f_code.co_filename != _DRIVER:
        if not is_ours(frame):
            yield frame
        frame = frame.f_back
