"""What an attempt's process does: waits for its one event, runs it, says how it ended, and exits.

All that can be done before the event is known is done while waiting. Before: `zygote`, which forked this process, and the host, which
sends Start. After: the host, which settles.
"""

from __future__ import annotations

import gc
import select
import signal
from collections.abc import Callable
from typing import Final, NoReturn

from ropewalk.guest import rehearsal
from ropewalk.guest.author import plan_of
from ropewalk.guest.channel import Channel, encode_message
from ropewalk.guest.invocation import Invocation
from ropewalk.guest.raised import out_of_memory

_COLLECT_EVERY: Final = 20_000
"""New objects between two collections: what was there before the fork is frozen, so a collection costs what the method made."""

_SOON: Final = 10
"""Milliseconds within which a busy node's processes get their event: rehearsing would cost those more than it gives."""


def prepare(fd: int, twist: type) -> Callable[[bool], NoReturn]:
    """Make all that an attempt of `twist` on the connection `fd` needs, and return what a process is to call that has just been forked.

    That process was forked without Python's hooks, has one thread, and has said HELLO. It says whether there is time before its event
    comes. No author's code runs before that.
    """
    plan = plan_of(twist)
    rehearsal.warm(plan)
    channel = Channel(fd)
    invocation = Invocation(plan, channel)
    out_of_memory_word = encode_message(out_of_memory(plan.memory))
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
    rehearse = rehearsal.once_more()
    event = select.poll()
    event.register(fd, select.POLLIN)

    def serve(ahead: bool) -> NoReturn:
        if ahead and not event.poll(_SOON):
            rehearse()
        try:
            last_word = invocation.run(channel.wait_for_start())
        except MemoryError:
            last_word = out_of_memory_word
        channel.finish(last_word)
        while True:
            signal.pause()  # the host reads what this process has used, and ends it

    return serve
