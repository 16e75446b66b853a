"""A million frames through the host's end of a connection, quickly: no two streams alike, most frames whole, some not.

Frames are drawn from a stock: every kind of message, whole, garbled, cut, in pieces, deep, oversized. A stream is many of them after each
other, written in pieces that begin and end anywhere. What is heard is held against what each frame is known to hold.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import sys
import time
from typing import Final

from msgspec import Struct

from ropewalk.sandbox.interface import Ended
from ropewalk.wire.frames import FRAME_LIMIT, MESSAGE_LIMIT_FROM_GUEST
from tests.fuzz.choices import Choices
from tests.fuzz.connection import MORE, PROTOCOL, Host, garbled, packed_all, reading
from tests.fuzz.messages import CALLS, SPOKEN, Tongue, packed

MILLION: Final = 1_000_000
LEAK: Final = 64 * 1024 * 1024
"""Bytes by which the peak may rise after the first tenth."""

_STOCK: Final = 6_000
_ODD: Final = 600
_LONGEST_STREAM: Final = 600
_LARGE_EVERY: Final = 200


class Frames(Struct, frozen=True):
    """Some frames as they are sent, the messages in them, and how a connection has to end that ends with them."""

    sent: bytes
    heard: list[bytes]
    ends: Ended


def stock(chance: random.Random) -> tuple[list[Frames], list[Frames]]:
    """Return frames that are messages and go on, and frames that end a connection or are not whole."""
    well: list[Frames] = []
    odd: list[Frames] = []
    while len(well) < _STOCK or len(odd) < _ODD:
        choices = Choices(chance.randbytes(400))
        body = packed(Tongue(choices, []).message(CALLS if len(odd) >= _ODD else SPOKEN))
        if len(body) < 2_000:
            sent = garbled(choices, body)
            heard, how = reading(sent)
            whole = len(heard) == 1 and len(reading(sent + sent)[0]) == 2
            (well if whole else odd).append(Frames(sent, packed_all(heard), how))
    return well[:_STOCK], odd[:_ODD]


def large(chance: random.Random) -> Frames:
    """Return the beginning of a message that is larger than it may be, in frames that are not."""
    size = chance.choice([FRAME_LIMIT, FRAME_LIMIT // 3])
    frame = (MORE | size).to_bytes(4) + bytes(size)
    return Frames(frame * (MESSAGE_LIMIT_FROM_GUEST // size + 1), [], PROTOCOL)


def flood(frames: int, seed: int, *, progress: bool = False) -> None:
    """Send so many frames, and see that they are heard as they should be, without a stall or a leak: nothing else may run in this process."""
    chance = random.Random(seed)
    well, odd = stock(chance)
    host = Host()
    sent, streams, before = 0, 0, _left()
    told = began = time.monotonic()
    while sent < frames:
        some = chance.choices(well, k=chance.randrange(_LONGEST_STREAM))
        some.append(large(chance) if streams % _LARGE_EVERY == 0 else chance.choice(odd))
        _send(host, chance, some)
        sent, streams = sent + len(some), streams + 1
        if sent < frames // 10:
            before = _left()
        if progress and time.monotonic() - told > 5:
            told = time.monotonic()
            print(f"  {sent:,} frames in {told - began:.0f} s", file=sys.stderr, flush=True)
    gc.collect()
    after = _left()
    assert after[0] == before[0], f"{after[0] - before[0]} descriptors were left open"
    assert after[1] - before[1] < LEAK, f"memory rose by {after[1] - before[1]:,} bytes"
    host.close()


def _send(host: Host, chance: random.Random, some: list[Frames]) -> None:
    """Send frames on a connection of their own, in pieces of any size."""
    stream = b"".join(one.sent for one in some)
    cuts = sorted(chance.choices(range(len(stream) + 1), k=chance.randrange(8)))
    with host.connection() as line:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            line.write(stream[start:end])
        ended = line.hang_up()
    assert packed_all(line.heard) == [message for one in some for message in one.heard]
    assert ended == some[-1].ends


def _left() -> tuple[int, int]:
    """Return how many descriptors are open, and the most memory that there was."""
    return len(os.listdir("/proc/self/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
