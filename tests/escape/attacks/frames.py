"""Frames that are forged, doubled, late, oversized or somebody else's, written past the SDK: by attempts and by what they are forked from."""

from __future__ import annotations

from typing import Any

import msgspec

from ropewalk.dispatch.attempt import Attempt
from ropewalk.sandbox.zygotes import VersionZygote
from ropewalk.wire.messages import GuestMessage
from tests.escape.guards import Guard, host, lowered_limits, settings
from tests.escape.harness import Attack

RAW = '''
import msgspec
from ropewalk.wire import control, frames, messages

def write_all(data, fd=3):
    """Write to the connection until all of it is taken."""
    data = memoryview(data)
    while data:
        data = data[os.write(fd, data):]

def encoded(*said):
    """Return messages as frames."""
    return b"".join(frames.encode_frames(msgspec.msgpack.encode(one)) for one in said)

def raw(*said):
    """Write messages to the connection."""
    write_all(encoded(*said))

def replies(count):
    """Read so many messages of the host's."""
    decoder, found = frames.FrameDecoder(1 << 40), []
    while len(found) < count:
        data = os.read(3, 65536)
        if not data:
            raise EOFError
        found += [msgspec.msgpack.decode(one) for one in decoder.feed(data)]
    return found
'''
"""What speaks for itself, for the top of an attack's module."""

_decode = msgspec.msgpack.Decoder(GuestMessage).decode
_on_message = Attempt._on_message


def take_everything(process: Any, data: bytes) -> None:
    """Stand in for `ForkedProcess._take` on a host that goes on listening after the last word."""
    for body in process._frames.feed(data):
        process._deliver(_decode(body))


def hear_on(attempt: Any, message: Any) -> None:
    """Stand in for `Attempt._on_message` on a host to which an attempt that is over is as good as any."""
    ending, attempt._ending = attempt._ending, None
    _on_message(attempt, message)
    attempt._ending = attempt._ending or ending


LISTENING = host("ropewalk.sandbox.processes.ForkedProcess._take", take_everything)
"""That nothing is heard of a process that has had its last word."""

OVER = host("ropewalk.dispatch.attempt.Attempt._on_message", hear_on)
"""That an attempt which is over takes no more messages."""

FORGED = """
import msgspec
from ropewalk.guest import author
from ropewalk.wire.control import Imported, LimitsInfo
describe = author._describe
def forged(plan):
    found = describe(plan)
    return msgspec.structs.replace(found, {changes})
author._describe = forged
"""


COME_LATE = """
async def come_late(self):
    await self.set("late", True)
"""


def late(name: str, source: str, look: str = "return None") -> Attack:
    """Return an attack that says more after its last word."""
    return Attack(name=name, module=RAW, members=COME_LATE, source=source, look=look, held_by=[LISTENING, OVER])


ONCE = "retry: ClassVar[RetryPolicy] = RetryPolicy(attempts=1)"
"""So that a version whose processes are never right is soon done with."""

# What a zygote does with connections that it has: it says in their names that they have finished, as often as it forks.
SPEAK_FOR_OTHERS = """
from ropewalk.guest import kernel, zygote
KEPT = []
clone, take = kernel.clone, zygote._take_connection

def receive(flags):
    queue = socket.socket(fileno=4)
    try:
        _, ((_, _, data),), _, _ = queue.recvmsg(1, 64, flags | socket.MSG_DONTWAIT)
        return int.from_bytes(data, sys.byteorder)
    finally:
        queue.detach()

def speak():
    for one in KEPT:
        try:
            write_all(encoded(messages.Finished(result=b'"through"')), one)
        except OSError:
            pass

def let_go():
    for one in KEPT:
        os.close(one)
"""

KEEP_A_COPY = """
def clone_and_keep(*arguments):
    speak()
    KEPT.append(receive(socket.MSG_PEEK))
    pid = clone(*arguments)
    if pid == 0:
        let_go()
    return pid

kernel.clone = clone_and_keep
"""

TAKE_IT_LATER = """
FORKS = []

def clone_and_take(*arguments):
    if FORKS:
        KEPT.append(receive(0))
        speak()
    FORKS.append(1)
    pid = clone(*arguments)
    if pid == 0:
        let_go()
    return pid

kernel.clone = clone_and_take
zygote._take_connection = lambda queue: receive(socket.MSG_PEEK)
"""

SPEAK_OUT_OF_TURN = """
import gc
enable = gc.enable

def enable_and_speak():
    enable()
    os.write(3, b"a word that nobody has asked for")

gc.enable = enable_and_speak
"""


def speaking_for_others(name: str, module: str, guard: Guard) -> Attack:
    """Return an attack whose zygote ends it, waiting as it is, by saying in its name that it has finished."""
    return Attack(name=name, module=RAW + SPEAK_FOR_OTHERS + module, members=ONCE, source="time.sleep(3)", held_by=[guard])


def deaf(zygote: Any) -> None:
    """Stand in for `VersionZygote._read` on a host that does not mind what a zygote says once it forks."""
    if zygote.ready.done():
        zygote._control.recv(65536)
    else:
        _read_zygote(zygote)


_read_zygote = VersionZygote._read
ZYGOTE = "ropewalk.sandbox.zygotes.VersionZygote"


ATTACKS = [
    late(
        "finish twice",
        """
        raw(messages.Finished(result=b'"first"'), messages.Finished(result=b'"through"'))
        time.sleep(60)
        """,
    ),
    late(
        "fail, then finish",
        """
        fault = messages.Raised(kind="unretried", type="x", message="y", traceback="z")
        raw(fault, messages.Finished(result=b'"through"'))
        time.sleep(60)
        """,
    ),
    late(
        "write to the store after finishing",
        """
        write = messages.StoreWrite(id=900, ns="", items={"late": b"1"})
        raw(messages.Finished(result=b"1"), write)
        time.sleep(60)
        """,
        "return THROUGH if await self.get('late') else None",
    ),
    late(
        "ask for a task after finishing",
        """
        target = messages.Target(ns="", method="come_late")
        raw(messages.Finished(result=b"1"), messages.TaskRun(id=900, ns="", target=target))
        time.sleep(60)
        """,
        "return THROUGH if await self.get('late') else None",
    ),
    Attack(
        name="send a frame that is too large",
        module=RAW,
        source="""
            long = msgspec.msgpack.encode(messages.Log(time=0, level=20, message="x" * (9 << 20)))
            write_all(struct.pack("!I", len(long)) + long)
            return THROUGH
        """,
        held_by=[host("ropewalk.wire.frames.FRAME_LIMIT", 1 << 30)],
    ),
    Attack(
        name="send a message of many frames that is too large",
        module=RAW,
        source="""
            raw(messages.Log(time=0, level=20, message="x" * (20 << 20)))
            await self.get("answered")
            return THROUGH
        """,
        held_by=[host("ropewalk.sandbox.processes.MESSAGE_LIMIT_FROM_GUEST", 1 << 40)],
    ),
    Attack(
        name="make requests by hand, past the budget",
        module=RAW,
        members="limits: ClassVar[Limits] = Limits(cpu=10.0, wall=20.0, requests=50)",
        source="""
            raw(*(messages.StoreRead(id=number, ns="", keys=["key"]) for number in range(1, 201)))
            replies(200)
            return THROUGH
        """,
        held_by=[lowered_limits()],
    ),
    Attack(
        name="store what is too large by hand",
        module=RAW,
        source="""
            raw(messages.StoreWrite(id=900, ns="", items={"large": b'"' + b"x" * (2 << 20) + b'"'}))
            return THROUGH if replies(1)[0][0] == "answer" else None
        """,
        held_by=[settings(limit_value=8 << 20)],
    ),
    Attack(
        name="forge a manifest that asks for more than the operator gives",
        module=FORGED.format(changes="limits=LimitsInfo(memory=1 << 40)"),
        source="held = b'x' * (200 << 20)\nreturn THROUGH",
        held_by=[
            host("ropewalk.service.releasing.check_manifest", lambda manifest, limits: None),
            host(
                "ropewalk.sandbox.interface.Limits.lowered_by",
                lambda limits, asked: msgspec.structs.replace(limits, memory=asked.memory or limits.memory),
            ),
        ],
    ),
    speaking_for_others(
        "keep a copy of an attempt's connection in the zygote",
        KEEP_A_COPY,
        host("ropewalk.sandbox.inspection.Descriptors.include", lambda descriptors, inode: False),
    ),
    speaking_for_others(
        "leave an attempt's connection where the zygote can take it",
        TAKE_IT_LATER,
        host(f"{ZYGOTE}._left_in_queue", lambda zygote: False),
    ),
    Attack(
        name="speak out of turn as a zygote",
        module=SPEAK_OUT_OF_TURN,
        members=ONCE,
        source="return THROUGH",
        held_by=[host(f"{ZYGOTE}._read", deaf)],
    ),
]
