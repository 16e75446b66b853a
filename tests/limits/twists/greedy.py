"""Ways to use more than one may, each guarded by everything that Python has against being ended."""

import asyncio
import atexit
import contextlib
import ctypes
import hashlib
import mmap
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from ropewalk import Limits, RopewalkError, Twist
from ropewalk.guest.channel import encode_message
from ropewalk.wire.frames import encode_frames
from ropewalk.wire.messages import Log

MIB = 1024 * 1024
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
READ, WRITE, SHARED, PRIVATE, FIXED, ANONYMOUS = 0x1, 0x2, 0x1, 0x2, 0x10, 0x20
GIB = 1024 * MIB

# ── Time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def spin() -> NoReturn:
    while True:
        pass


def backtrack() -> None:
    re.match(r"(a*)*b", "a" * 64)


def multiply() -> None:
    number = 3**100_000
    while True:
        number *= number


def digest_in_threads() -> None:
    def digest() -> None:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

    for _ in range(3):
        threading.Thread(target=digest, daemon=True).start()
    digest()


class Undying:
    """Never lets go."""

    def __del__(self) -> None:
        spin()


def finalise() -> None:
    Undying()


def sleep() -> None:
    time.sleep(3600)


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


# ── Memory ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def fill(size: int = MIB) -> NoReturn:
    held = []
    while True:
        with contextlib.suppress(MemoryError):
            held.append(b"x" * size)


def fill_later() -> None:
    time.sleep(0.6)
    fill()


def small_pieces() -> NoReturn:
    held = []
    while True:
        held.append([0] * 100)


def one_piece() -> None:
    held = bytearray(GIB)
    time.sleep(len(held))


def two_gigabytes() -> None:
    with contextlib.suppress(MemoryError):
        bytearray(2 * GIB)


def given_back() -> None:
    held = bytearray(200 * MIB)
    del held


def mapped() -> NoReturn:
    held = []
    while True:
        with contextlib.suppress(OSError):
            held.append(mmap.mmap(-1, MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
            held[-1][0] = 1


def mapped_by_ctypes() -> NoReturn:
    while True:
        address = LIBC.mmap(None, MIB, READ | WRITE, PRIVATE | ANONYMOUS, -1, 0)
        if address not in (None, ctypes.c_void_p(-1).value):
            ctypes.memset(address, 1, MIB)


def page_tables() -> None:
    """Touch one page in each gigabyte: what leads to it takes two more."""
    for number in range(1, 60_000):
        address = LIBC.mmap(GIB * (1000 + number), 4096, READ, PRIVATE | FIXED | ANONYMOUS, -1, 0)
        if address == GIB * (1000 + number):
            ctypes.string_at(address, 1)
    time.sleep(3600)


def stacks() -> None:
    stop = threading.Event()
    threading.stack_size(32 * MIB)
    for _ in range(10):
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=stop.wait, daemon=True).start()
    spin()


WAYS: dict[str, Callable[[], object]] = {
    way.__name__: way
    for way in (
        spin, backtrack, multiply, digest_in_threads, finalise, sleep, deadlock,
        fill, fill_later, small_pieces, one_piece, two_gigabytes, given_back, mapped, mapped_by_ctypes, page_tables, stacks,
    )
}  # fmt: skip


def pause() -> int:
    time.sleep(0.001)
    return 1


class Greedy(Twist):
    """Takes what it can."""

    limits = Limits()

    async def benign(self) -> str:
        return "fine"

    async def go(self, way: str) -> str:
        """Do it, and let nothing that Python knows of end it."""
        await self.set("before", way)
        self.log.info("began")
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        atexit.register(print, "at exit")
        try:
            WAYS[way]()
        except BaseException:  # noqa: BLE001 — the point
            self.log.info("caught")
        finally:
            self.log.info("finally")
        return "survived"

    async def shared(self, how: str) -> str:
        """Try to have memory that counts for nobody."""
        try:
            if how == "anonymous":
                mmap.mmap(-1, MIB)
            elif how == "memfd":
                os.memfd_create("held")
            elif LIBC.mmap(None, MIB, READ | WRITE, SHARED | ANONYMOUS, -1, 0) == ctypes.c_void_p(-1).value:
                raise OSError(ctypes.get_errno(), "no")
        except OSError as error:
            return type(error).__name__
        return "had it"

    async def ask(self, count: int, batch: bool) -> str:
        """Make requests, and catch what comes of them."""
        for number in range(count):
            with contextlib.suppress(BaseException):
                if batch:
                    await self.set_many({f"key {n}": n for n in range(1000)})
                else:
                    await self.get_many([f"key {number}"])
        return "survived"

    async def at_once(self, count: int) -> str:
        """Make requests side by side."""
        await asyncio.gather(*(self.get_many([f"key {number}"]) for number in range(count)), return_exceptions=True)
        return "survived"

    async def threads(self, count: int) -> list[Any]:
        """Start threads, and say how many there came to be and why not more."""
        stop = threading.Event()
        started = [threading.Thread(target=stop.wait, daemon=True) for _ in range(count)]
        try:
            for thread in started:
                thread.start()
        except RuntimeError as error:
            return [threading.active_count(), str(error)]
        finally:
            stop.set()
        return [threading.active_count(), ""]

    async def work_in_threads(self, count: int) -> int:
        """Have as many waits in threads as one likes."""
        return sum(await asyncio.gather(*(asyncio.to_thread(pause) for _ in range(count))))

    async def raw_threads(self) -> str:
        """Start threads past Python, by the C library, with small stacks."""
        thread, attributes = ctypes.c_ulong(), ctypes.create_string_buffer(64)
        LIBC.pthread_attr_init(attributes)
        LIBC.pthread_attr_setstacksize(attributes, ctypes.c_size_t(64 * 1024))
        pause = ctypes.cast(LIBC.pause, ctypes.c_void_p)
        for _ in range(100):
            LIBC.pthread_create(ctypes.byref(thread), attributes, pause, None)
        spin()

    async def files(self) -> list[Any]:
        """Open files until one may not, and say how many and why."""
        held = []
        try:
            while True:
                held.append(open("/twist/twist.py"))  # noqa: SIM115 — they are to stay open
        except OSError as error:
            return [len(held), type(error).__name__, str(error.strerror)]

    async def keep(self, first: int, count: int) -> None:
        """Store small values."""
        await self.set_many({f"item {number:06}": 1 for number in range(first, first + count)})

    async def refused(self, what: str) -> list[str]:
        """Ask for too much and say what the error was."""
        try:
            await getattr(self, f"with_{what}")()
        except RopewalkError as error:
            return [type(error).__name__, str(error)]
        return ["nothing", ""]

    async def with_key(self) -> None:
        await self.set("k" * 513, 1)

    async def with_value(self) -> None:
        await self.set("key", "x" * (MIB - 1))

    async def with_batch(self) -> None:
        await self.set_many({f"key {number}": 1 for number in range(1001)})

    async def with_message(self) -> None:
        await self.set_many({f"key {number}": "x" * (MIB - 1000) for number in range(17)})

    async def with_rows(self) -> None:
        for batch in range(11):
            await self.set_many({f"key {batch} {number}": 1 for number in range(1000)})

    async def with_bytes(self) -> None:
        for number in range(17):
            await self.set(f"key {number}", "x" * (MIB - 1000))

    async def with_arguments(self) -> None:
        await self.run_task(self.say, "x" * (2 * MIB), 1)

    async def with_listing(self) -> None:
        await self.keys("item ")

    async def say(self, text: str, times: int) -> str:
        """Write lines, and go on."""
        for number in range(times):
            self.log.info("%d %s", number, text)
        return "survived"

    async def flood(self, times: int) -> str:
        """Write lines to the host, past what counts them here."""
        frame = encode_frames(encode_message(Log(time=0, level=20, message="x" * 100)))
        for _ in range(times):
            os.write(3, frame)
        return "survived"

    async def give(self, size: int) -> str:
        """Return something large."""
        return "x" * size
