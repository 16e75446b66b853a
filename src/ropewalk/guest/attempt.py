"""What an attempt's process does: waits for its one event, runs it, says how it ended, and exits.

All that can be done before the event is known is done while waiting. Before: `zygote`, which forked this process, and the host, which
sends Start. After: the host, which settles.
"""

from __future__ import annotations

import gc
import select
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

from ropewalk.guest import memory, rehearsal
from ropewalk.guest.author import load, load_plan
from ropewalk.guest.channel import Channel, encode_message
from ropewalk.guest.invocation import Invocation
from ropewalk.guest.plan import Plan
from ropewalk.guest.raised import out_of_memory
from ropewalk.wire.control import Import, Imported, ImportFailed, Standing
from ropewalk.wire.frames import encode_frames
from ropewalk.wire.messages import Raised, Start

_COLLECT_EVERY: Final = 20_000
"""New objects between two collections: what was there before the fork is frozen, so a collection costs what the method made."""

_SOON: Final = 10
"""Milliseconds within which a busy node's processes get their event: rehearsing would cost those more than it gives."""


Run = Callable[[Start], bytes]
"""Runs an event and returns the last word, encoded. Raises MemoryError."""

Invoke = Callable[[Plan, Any], Invocation]
"""Makes what runs an event of a plan over a channel."""


def prepare(
    fd: int, request: Import, folder: str
) -> tuple[Callable[[bool], NoReturn] | None, Imported | ImportFailed | Standing]:
    """Make all that an attempt on the connection `fd` needs, its module imported from the bundle at `folder` unless that is to wait.

    Returns:
        What a process is to call that has just been forked (None when the import failed), and what is said to the host. That process
        was forked without Python's hooks, has one thread, and has said HELLO. It says whether there is time before its event comes; no
        author's code runs in it before that.
    """
    channel, invoke = _replaying(fd) if request.replays else (Channel(fd), Invocation)
    if request.strict:
        memory.install()
        return _serving(channel, fd, request.memory, partial(_import_and_run, channel, invoke, request, folder)), Standing()
    plan, report = load(request, folder)
    if plan is None:
        return None, report
    memory.install()
    rehearsal.warm(plan)
    return _serving(channel, fd, request.memory, invoke(plan, channel).run, plan), report


def _replaying(fd: int) -> tuple[Channel, Invoke]:
    """Return the channel and the invocation of a process that replays a recorded attempt, having set its time apart from the machine's."""
    from ropewalk.guest import replaying, virtual  # with Python's debugger, which nothing live has a use for

    virtual.install()
    return replaying.ReplayChannel(fd), replaying.ReplayedInvocation


def _import_and_run(channel: Channel, invoke: Invoke, request: Import, folder: str, start: Start) -> bytes:
    """Run an event in a process that has imported nothing of the author's yet."""
    found = load_plan(request, folder)
    if isinstance(found, ImportFailed):
        message = f"{request.module} could not be imported: {found.message}"
        return encode_message(Raised(kind="error", type=found.type, message=message, traceback=found.traceback))
    return invoke(found, channel).run(start)


def _serving(channel: Channel, fd: int, limit: int, run: Run, plan: Plan | None = None) -> Callable[[bool], NoReturn]:
    """Return what waits for the one event, runs it, and stays until it is ended."""
    out_of_memory_word = encode_message(out_of_memory(limit))
    out_of_memory_frame = encode_frames(out_of_memory_word)
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
    rehearse = rehearsal.once_more(plan)
    event = select.poll()
    event.register(fd, select.POLLIN)

    def serve(ahead: bool) -> NoReturn:
        if ahead and not event.poll(_SOON):
            rehearse()
        start = channel.wait_for_start()
        memory.end_with(fd, out_of_memory_frame)
        try:
            last_word = run(start)
        except MemoryError:
            last_word = out_of_memory_word
        channel.finish(last_word)
        while True:
            signal.pause()  # the host reads what this process has used, and ends it

    return serve
