"""What a guest says, what it may not say, and how its end is told."""

from __future__ import annotations

import struct

import msgspec
import pytest

from ropewalk.sandbox.interface import Ended
from ropewalk.wire.frames import FRAME_LIMIT, encode_frames
from ropewalk.wire.messages import Answer, Finished, Log
from tests.sandbox.bench import IN_BOTH_MODES, Attempt, Bench

pytestmark = [pytest.mark.asyncio(loop_scope="session"), IN_BOTH_MODES]

# The connection is descriptor 3, whatever the SDK thinks of it.
FINISHED = encode_frames(msgspec.msgpack.encode(Finished(result=b"1")))
LOG = encode_frames(msgspec.msgpack.encode(Log(time=0, level=20, message="x")))


async def test_a_guest_that_is_done_is_ended_once(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist("return 7"))
    assert await attempt.result() == 7
    assert attempt.ends == [Ended(code=0)]


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 100,
        struct.pack("!I", FRAME_LIMIT + 1),
        encode_frames(b"\xc1"),
        encode_frames(b""),
        encode_frames(b"\x91" * 100_000 + b"\x90"),
        encode_frames(msgspec.msgpack.encode(["finished"])),
        encode_frames(msgspec.msgpack.encode(["finished", 5])),
        encode_frames(msgspec.msgpack.encode(["no such message"])),
        encode_frames(b"\x93\xa3log\x00\x14\xa1\xff"),
        struct.pack("!I", 0x8000_0000),
    ],
    ids=["noise", "long", "reserved", "empty", "deep", "short", "mistyped", "unknown", "not-utf-8", "endless"],
)
async def test_what_is_no_message_ends_it(bench: Bench, said: bytes) -> None:
    attempt = await bench.begin(bench.twist(f"import os; os.write(3, {said!r}); os.read(3, 1)"))
    assert await attempt.ended() == Ended(signal=9, limit="protocol")
    assert attempt.said == []


async def test_what_comes_after_the_last_word_is_not_heard(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist(f"import os; os.write(3, {LOG + FINISHED + LOG + b'noise'!r}); os.read(3, 1)"))
    assert await attempt.ended() == Ended(code=0)
    assert [type(message) for message in attempt.said] == [Log, Finished]


async def test_messages_may_come_in_pieces(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist(f"import os\nfor byte in {LOG + FINISHED!r}: os.write(3, bytes([byte]))"))
    assert await attempt.result() == 1


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("import os; os._exit(0)", Ended(code=0)),
        ("import os; os._exit(3)", Ended(code=3)),
        ("import ctypes; ctypes.string_at(0)", Ended(signal=11)),
        ("import os, time; os.close(3); time.sleep(60)", Ended(signal=9)),
        ("import os, time; os.dup2(0, 3); time.sleep(60)", Ended(signal=9)),
    ],
    ids=["exit", "exit-3", "segfault", "close", "replace"],
)
async def test_how_it_ended_is_told(bench: Bench, body: str, how: Ended) -> None:
    attempt = await bench.begin(bench.twist(body))
    assert await attempt.ended() == how


async def test_a_guest_that_does_not_read_is_ended(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist("import time; time.sleep(60)"))
    answer = Answer(id=1, value=msgspec.Raw(msgspec.msgpack.encode(bytes(4 << 20))))
    for _ in range(13):
        attempt.process.send(answer)
    assert await attempt.ended() == Ended(signal=9, limit="protocol")


async def test_what_does_not_fit_at_once_is_kept_and_sent(bench: Bench) -> None:
    body = """
    import os
    wanted, had = args[0], 0
    while had < wanted:
        had += len(os.read(3, 1 << 20))
    return had >= wanted
    """
    answer = Answer(id=1, value=msgspec.Raw(msgspec.msgpack.encode(bytes(4 << 20))))
    attempt = await bench.begin(bench.twist(body), "probe", 15 << 20)  # the SDK may have read some of it with Start
    for _ in range(4):
        attempt.process.send(answer)
    assert await attempt.result() is True


async def test_a_killed_process_says_nothing_more(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist(f"import os\nwhile True: os.write(3, {LOG!r})"))
    attempt.process.kill("request_limit")
    attempt.process.kill()
    assert await attempt.ended() == Ended(signal=9, limit="request_limit")
    assert attempt.said == []


async def test_the_end_is_told_to_who_listens_late(bench: Bench) -> None:
    process = await bench.source.take(bench.twist("return 1"))
    process.kill()
    late = Attempt(process)
    late.begin("probe", (), bench.twist("return 1").limits)
    assert await late.ended() == Ended(signal=9)


async def test_a_guest_that_speaks_while_it_waits_is_ended(bench: Bench) -> None:
    bench.strict = False  # otherwise nothing of the author's runs while it waits
    before = f"import os, threading\nfrom ropewalk.guest import attempt\nattempt._serving = lambda *_: lambda ahead: (os.write(3, {LOG!r}), os.read(3, 1))"
    image = bench.twist("return 1", before)
    attempt = Attempt(await bench.source.take(image))
    attempt.listen()
    assert await attempt.ended() == Ended(signal=9, limit="protocol")
