"""What is said beside the other messages when an attempt is replayed: the guest asks, and is told what the record has.

    host → guest    Rerun in Start's place; Played for each call, at once; Typed for each Asked
    guest → host    Standing before each call and before the last word; Stalled; Told and Asked, when there is a debugger

Nothing here is said in a live attempt: its process does not know these messages, and one that said them would be ended for it.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from ropewalk.wire.messages import Answer, Failure, GuestMessage, HostMessage, Message, Start

_SOME: Final = Meta(max_length=1_000)
_LINE: Final = Meta(max_length=1_000)


class Rerun(Message, tag="rerun", frozen=True, kw_only=True):
    """The event of the attempt that is replayed, as its process was told of it then.

    With `debug` there is a person at a debugger: it stops where the replay differs, at an exception that ends the method, and at
    `breakpoint()`; with `stop_first` on the method's first line too.
    """

    start: Start
    debug: bool = False
    stop_first: bool = False


class Played(Message, tag="played", frozen=True, kw_only=True):
    """What became of the call that was just made.

    `at` is when it was answered, or made where nobody waited for an answer. Without `reply` there was none, or none that the record has.
    `difference` says in words how the call differs from what was recorded: then nothing more will be answered.
    """

    at: int
    reply: Answer | Failure | None = None
    difference: str | None = None


class Typed(Message, tag="typed", frozen=True, kw_only=True):
    """A line that the person typed, its end included; "" when there will be no more."""

    line: str


ReplayingHostMessage = HostMessage | Rerun | Played | Typed


class Standing(Message, tag="standing", frozen=True, kw_only=True):
    """Where the method stands as it calls, the author's innermost line last; what it has drawn of the system's randomness since it last said,
    and whether it has ever asked what time it is.
    """

    lines: Annotated[list[Annotated[str, _LINE]], _SOME] = []
    drawn: Annotated[list[bytes], _SOME] = []
    read_clock: bool = False


class Stalled(Message, tag="stalled", frozen=True, kw_only=True):
    """The method waits for what will not come any more: an answer that the record does not have, or the end of its time."""

    out_of_time: bool = False


class Told(Message, tag="told", frozen=True, kw_only=True):
    """What the debugger writes."""

    text: str


class Asked(Message, tag="asked", frozen=True, kw_only=True):
    """The debugger waits for a line, after it has written `prompt`."""

    prompt: str


ReplayedMessage = GuestMessage | Standing | Stalled | Told | Asked
