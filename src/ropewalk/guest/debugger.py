"""Python's debugger at the other end of a socket: what it writes is told, what it reads is asked for.

It stops on the first line of the method, where the replay differs from the record, at the exception that ends the method, and where the
author's code says `breakpoint()`. The runtime's own lines are stepped over.
"""

from __future__ import annotations

import pdb
import sys
from bdb import BdbQuit
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import IO, Any, Final, cast

from ropewalk.guest.raised import message_of
from ropewalk.guest.virtual import CLOCK

_SKIPPED: Final = ["ropewalk.*", "asyncio", "asyncio.*", "selectors", "contextvars", "importlib.*"]
_OURS: Final = frozenset({"ropewalk", "asyncio"})


class Screen:
    """Both streams of a debugger that asks somebody elsewhere.

    Args:
        ask: returns the line that follows a prompt, "" when there are no more.
        tell: shows whole lines.
    """

    encoding = "utf-8"

    def __init__(self, ask: Callable[[str], str], tell: Callable[[str], None]) -> None:
        self._ask = ask
        self._tell = tell
        self._written = ""

    def write(self, text: str) -> int:
        """Keep text until it is a line."""
        self._written += text
        lines, newline, rest = self._written.rpartition("\n")
        if newline:
            self._tell(lines + newline)
            self._written = rest
        return len(text)

    def flush(self) -> None:
        """Keep an unfinished line: it is the prompt of the next question."""

    def readline(self) -> str:
        """Return the next line."""
        prompt, self._written = self._written, ""
        return self._ask(prompt)


class Debugger(pdb.Pdb):
    """A debugger that asks somebody elsewhere.

    Args:
        screen: what it reads and writes; the process's own streams when None.
    """

    def __init__(self, screen: Screen | None = None) -> None:
        streams = cast("IO[str] | None", screen)  # it only ever reads lines and writes
        super().__init__(skip=_SKIPPED, stdin=streams, stdout=streams, nosigint=True, readrc=False)
        self._at_entry = False

    def stop_at_first_line(self) -> None:
        """Stop when the first line of the author's is about to run."""
        self.reset()
        self.set_step()
        self._at_entry = True
        sys.settrace(self.trace_dispatch)

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        """Stop on the first line rather than at the name of the method."""
        if not self._at_entry:
            super().user_call(frame, argument_list)

    def user_line(self, frame: FrameType) -> None:
        """Stop on a line."""
        self._at_entry = False
        super().user_line(frame)

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """Return the frames that can be looked at: the author's, as far out as the method goes."""
        stack, place = super().get_stack(f, t)
        began = max((n for n, (frame, _) in enumerate(stack) if is_ours(frame) and n < place), default=-1)
        theirs = [entry for n, entry in enumerate(stack) if n > began or (n == place)]
        return (theirs, place - began - 1) if not is_ours(stack[place][0]) else (stack, place)

    def interaction(self, frame: FrameType | None, traceback: Any) -> None:
        """Let the person look around; the method's clock stands still meanwhile."""
        began = CLOCK.wall()
        try:
            super().interaction(frame, traceback)
        finally:
            CLOCK.hold_since(began)

    def look(self, frame: FrameType, why: str) -> None:
        """Stop in a frame that will not go on."""
        self.message(why)
        self.reset()
        self.interaction(frame, None)

    def look_at(self, error: BaseException) -> None:
        """Stop where an exception was raised, in the author's innermost frame."""
        trace = _of_author(error.__traceback__)
        if trace is None or isinstance(error, BdbQuit):
            return
        sys.settrace(None)
        self.message(f"{type(error).__name__}: {message_of(error)}")
        self.reset()
        self.interaction(None, trace)


def is_ours(frame: FrameType) -> bool:
    """Whether a frame is the runtime's, or of what it runs methods with."""
    name = str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in _OURS or frame.f_code.co_filename.startswith("<frozen")


def _of_author(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the runtime's frames."""
    places: list[TracebackType] = []
    while trace is not None:
        places.append(trace)
        trace = trace.tb_next
    found: TracebackType | None = None
    for place in reversed([one for one in places if not is_ours(one.tb_frame)]):
        found = TracebackType(found, place.tb_frame, place.tb_lasti, place.tb_lineno)
    return found
