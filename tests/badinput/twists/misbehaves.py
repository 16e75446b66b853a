"""Every way to end a method badly, beside one that is good."""

import asyncio
import contextlib
import ctypes
import datetime as dt
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, NoReturn

from ropewalk import Limits, Twist


class HostileText(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class WrongText(Exception):
    """Shows itself as something that is no text."""

    def __str__(self) -> str:
        return 42  # type: ignore[return-value]  # the point


class EndlessText(Exception):
    """Takes for ever to show."""

    def __str__(self) -> str:
        while True:
            pass


class ExitingText(Exception):
    """Ends the process when it is shown."""

    def __str__(self) -> str:
        os._exit(7)


class HostileClass(type):
    """A class whose name cannot be asked for."""

    def __getattribute__(cls, name: str) -> Any:
        if name in {"__name__", "__qualname__", "__module__"}:
            raise RuntimeError("no name for you")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=HostileClass):
    """Has no name."""


class Private(BaseException):
    """Is no Exception."""


class Misbehaves(Twist):
    """Ends badly in every way."""

    limits: ClassVar[Limits] = Limits(cpu=3.0, wall=60.0, memory=64 * 1024 * 1024)

    async def benign(self) -> str:
        """Do what is right."""
        await self.set("benign", True)
        return "fine"

    async def fail(self, how: str) -> Any:
        """Leave something half done, then fail."""
        await self.set("half", True)
        ending: Callable[[], Any] = getattr(self, f"by_{how}")
        result = ending()
        return await result if isinstance(result, Coroutine) else result

    # ── Exceptions ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def by_hostile_text(self) -> NoReturn:
        raise HostileText

    def by_wrong_text(self) -> NoReturn:
        raise WrongText

    def by_endless_text(self) -> NoReturn:
        raise EndlessText

    def by_exiting_text(self) -> NoReturn:
        raise ExitingText

    def by_nameless(self) -> NoReturn:
        raise Nameless("nameless")

    def by_surrogate_text(self) -> NoReturn:
        raise ValueError("\ud800 \0 \x1b[31m")

    def by_enormous_text(self) -> NoReturn:
        raise ValueError("x" * 20_000_000)

    def by_group(self) -> NoReturn:
        raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])

    def by_circle(self) -> NoReturn:
        first, second = ValueError("first"), ValueError("second")
        first.__cause__, second.__cause__ = second, first
        raise first

    def by_chain(self) -> NoReturn:
        error = ValueError("the last")
        for number in range(5000):
            outer = ValueError(number)
            outer.__cause__ = error
            error = outer
        raise error

    def by_base_exception(self) -> NoReturn:
        raise Private("not an Exception")

    def by_keyboard_interrupt(self) -> NoReturn:
        raise KeyboardInterrupt

    def by_system_exit(self) -> NoReturn:
        sys.exit("bye")

    def by_exit_zero(self) -> NoReturn:
        sys.exit(0)

    def by_generator_exit(self) -> NoReturn:
        raise GeneratorExit

    def by_stop_iteration(self) -> NoReturn:
        raise StopIteration

    def by_cancelled(self) -> NoReturn:
        raise asyncio.CancelledError

    def by_recursion(self) -> int:
        return self.by_recursion() + 1

    async def by_async_recursion(self) -> None:
        await self.by_async_recursion()

    def by_native_recursion(self) -> object:
        nested: list[Any] = []
        for _ in range(200_000):
            nested = [nested]
        return repr(nested)

    # ── Ends of the process ──────────────────────────────────────────────────────────────────────────────────────────────────

    def by_os_exit(self) -> NoReturn:
        os._exit(0)

    def by_os_exit_code(self) -> NoReturn:
        os._exit(3)

    def by_kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def by_abort(self) -> NoReturn:
        os.abort()

    def by_segfault(self) -> None:
        ctypes.string_at(0)

    def by_stack_overflow(self) -> None:
        sys.setrecursionlimit(10**9)

        def again(_: int) -> list[int]:
            return sorted([0], key=again)  # some kilobytes of the native stack each time

        again(0)

    def by_stop(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)

    def by_fork(self) -> None:
        os.fork()

    def by_fork_bomb(self) -> None:
        while True:
            threading.Thread(target=time.sleep, args=(60,)).start()

    # ── Never returning ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def by_deadlock(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def by_lock(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    async def by_ignoring_cancellation(self) -> None:
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(60)

    # ── Results ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def by_function(self) -> object:
        return self.by_function

    def by_coroutine(self) -> object:
        return {"nested": [object()]}

    def by_nan(self) -> float:
        return float("nan")

    def by_infinity(self) -> list[float]:
        return [float("inf")]

    def by_surrogates(self) -> str:
        return "lone \ud800"

    def by_circular(self) -> object:
        circle: list[Any] = []
        circle.append(circle)
        return circle

    def by_depth(self) -> object:
        nested: list[Any] = []
        for _ in range(100_000):
            nested = [nested]
        return nested

    def by_large_result(self) -> str:
        return "x" * (1024 * 1024)

    def by_open_file(self) -> object:
        return open(__file__)

    def by_naive_key(self) -> object:
        return {object(): 1}

    # ── Good ends after bad things ───────────────────────────────────────────────────────────────────────────────────────────

    async def returns(self, what: str) -> Any:
        """Do something odd, and return all the same."""
        value = getattr(self, f"with_{what}")()
        return await value if isinstance(value, Coroutine) else value

    def with_log_flood(self) -> None:
        for number in range(5_000):
            self.log.info("line %d %s", number, "x" * 500)

    def with_one_long_line(self) -> None:
        self.log.warning("x" * 10_000_000)

    def with_odd_lines(self) -> None:
        self.log.info("nul \0 surrogate \ud800 escape \x1b[31m")
        self.log.info("%s %s", "too few")
        self.log.info("object", extra={"value": object(), "nan": float("nan")})
        self.log.log(10**9, "level")
        print("half a line", end="")
        print("to stderr", file=sys.stderr)
        os.write(1, b"\xff raw\n")

    def with_closed_streams(self) -> None:
        sys.stdout.close()
        sys.stderr.close()

    def with_replaced_signal_handlers(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

    def with_patched_library(self) -> None:
        """Break what the SDK stands on; only this process may notice."""
        dt.__dict__["datetime"] = None
        sys.modules.clear()

    async def with_left_over_tasks(self) -> str:
        async def ever() -> None:
            await self.set("left over", True)
            while True:
                await asyncio.sleep(0)

        self.task = asyncio.create_task(ever())
        return "done"

    def with_threads(self) -> None:
        threading.Thread(target=time.sleep, args=(3600,)).start()
