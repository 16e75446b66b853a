"""Time and the system's randomness in a replay: a clock that goes on from when the attempt ran, and a note of what was drawn.

Installed before the author's module is imported, so that whatever names it takes are already these. The clock goes as the machine's does, but
leaps over waits, and to the moment at which the record has an answer. Only a replay does any of this: a live process has the machine's own.

Python keeps `datetime.now` where no assignment reaches it, in its type's own dictionary; there it is replaced.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final, cast

_BILLION: Final = 10**9
_WALL: Final = (time.CLOCK_REALTIME,)
_STEADY: Final = (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC_RAW)
_KEPT: Final = 1_000
_RUNTIME: Final = frozenset({"ropewalk", "asyncio", "concurrent", "logging", "selectors", "threading"})
"""What runs a method asks for the time whether the method does or not."""

_time_ns: Final = time.time_ns
_monotonic_ns: Final = time.monotonic_ns
_clock_gettime_ns: Final = time.clock_gettime_ns
_sleep: Final = time.sleep
_urandom: Final = os.urandom


class VirtualClock:
    """The time of the replayed attempt, in nanoseconds.

    Attributes:
        was_read: whether the method asked for the time.
    """

    def __init__(self) -> None:
        self.was_read = False
        self._shift = 0
        self._leapt = 0

    def set(self, now: int) -> None:
        """Have it be `now`, in nanoseconds since 1970, and count leaps from here on."""
        self._shift = now - _time_ns()
        self._leapt = 0
        self.was_read = False

    def wall(self) -> int:
        """Return nanoseconds since 1970."""
        return _time_ns() + self._shift + self._leapt

    def steady(self) -> int:
        """Return the nanoseconds of a clock that never steps back."""
        return _monotonic_ns() + self._leapt

    def leap(self, nanoseconds: int) -> None:
        """Have time pass at once."""
        self._leapt += max(0, nanoseconds)

    def hold_since(self, wall: int) -> None:
        """Have it be `wall` again: what has passed since was not the method's time."""
        self._leapt -= self.wall() - wall

    def leap_to(self, wall: int) -> None:
        """Have it be at least that late."""
        self.leap(wall - self.wall())


CLOCK: Final = VirtualClock()
"""The process's own."""

_drawn: Final[list[bytes]] = []


def take_drawn() -> list[bytes]:
    """Return what was drawn of the system's randomness since this was last asked."""
    drawn, _drawn[:] = _drawn[:], []
    return drawn


def install() -> None:
    """Put the clock and the note of randomness in the places where Python's own are."""
    for name, function in _FUNCTIONS.items():
        setattr(time, name, function)
    for name, method in (("now", _now), ("utcnow", _utcnow), ("today", _today)):
        _set_of_type(datetime, name, classmethod(method))
    _set_of_type(date, "today", classmethod(_today))
    os.urandom = _draw
    setattr(random, "_urandom", _draw)  # noqa: B010 — the name by which SystemRandom draws is no one's to see


def _read(nanoseconds: int) -> int:
    """Return a time, and note that it was asked for, unless it was by what runs the method."""
    CLOCK.was_read = CLOCK.was_read or _asker().partition(".")[0] not in _RUNTIME
    return nanoseconds


def _asker() -> str:
    """Return the name of the module that has called into this one."""
    frame = sys._getframe(1)  # noqa: SLF001 — Python has no other way to say it
    while frame.f_back is not None and frame.f_globals is globals():
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


def _clock_ns(clock: int) -> int:
    if clock in _WALL:
        return _read(CLOCK.wall())
    return _read(_clock_gettime_ns(clock) + CLOCK.steady() - _monotonic_ns()) if clock in _STEADY else _clock_gettime_ns(clock)


def _clock(clock: int) -> float:
    return _clock_ns(clock) / _BILLION


def _slept(seconds: float) -> None:
    """Leap over a sleep of the method's own thread; others sleep, since something else goes on meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        _sleep(seconds)
    elif seconds < 0:
        raise ValueError("sleep length must be non-negative")
    else:
        CLOCK.leap(round(seconds * _BILLION))


def _seconds(given: float | None) -> float:
    return _read(CLOCK.wall()) / _BILLION if given is None else given


def _of_now(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return one of `time`'s functions that mean now unless they are told otherwise."""

    def of_now(seconds: float | None = None) -> Any:
        return function(_seconds(seconds))

    return of_now


def _strftime(form: str, parts: Any = None) -> str:
    return _real_strftime(form, _real_localtime(_seconds(None)) if parts is None else parts)


_real_strftime: Final = time.strftime
_real_localtime: Final = time.localtime
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "time": lambda: _read(CLOCK.wall()) / _BILLION,
    "time_ns": lambda: _read(CLOCK.wall()),
    "monotonic": lambda: _read(CLOCK.steady()) / _BILLION,
    "monotonic_ns": lambda: _read(CLOCK.steady()),
    "perf_counter": lambda: _read(CLOCK.steady()) / _BILLION,
    "perf_counter_ns": lambda: _read(CLOCK.steady()),
    "clock_gettime": _clock,
    "clock_gettime_ns": _clock_ns,
    "sleep": _slept,
    "gmtime": _of_now(time.gmtime),
    "localtime": _of_now(time.localtime),
    "ctime": _of_now(time.ctime),
    "strftime": _strftime,
}


def _now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
    whole, rest = divmod(_read(CLOCK.wall()) // 1000, 1_000_000)
    return cls.fromtimestamp(whole, tz).replace(microsecond=rest)


def _utcnow(cls: type[datetime]) -> datetime:
    return _now(cls, UTC).replace(tzinfo=None)


def _today(cls: Any) -> Any:
    return cls.fromtimestamp(_seconds(None))


def _draw(count: int) -> bytes:
    found = _urandom(count)
    if len(_drawn) < _KEPT:
        _drawn.append(found)
    return found


def _set_of_type(kind: type, name: str, value: object) -> None:
    """Set an attribute of one of Python's own types."""
    (attributes,) = gc.get_referents(kind.__dict__)
    cast("dict[str, object]", attributes)[name] = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))
