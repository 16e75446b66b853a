"""How many threads an author's code may have at once.

The host ends a process that has made many more, past Python's own way; that way raises the error which Python has for it. Installed once in
the version zygote, before the author's module is imported.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from ropewalk.wire.control import THREADS

STACK: Final = 1024 * 1024
"""Bytes of stack of a thread that an author starts: the limit of memory counts it whole."""

_STARTING: Final = ("start_new_thread", "start_new", "start_joinable_thread")
"""What Python starts threads by, the last from 3.13 on; `threading` keeps names of its own for them."""


def bound() -> None:
    """Have threads be small, and a thread too many raise RuntimeError."""
    threading.stack_size(STACK)
    for name in _STARTING:
        start = getattr(_thread, name, None)
        if start is not None:
            bounded = _bounded(start)
            setattr(_thread, name, bounded)
            if hasattr(threading, f"_{name}"):
                setattr(threading, f"_{name}", bounded)


def _bounded(start: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(start)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        # Only the interpreter's own count has the threads that were started past `threading`; the process's first is not in it.
        if _thread._count() + 1 >= THREADS:  # noqa: SLF001 — the sole way to that count
            raise RuntimeError(
                f"can't start new thread: an execution may have {THREADS} at once, the method's own included: "
                "wait for some to end, or give the executor fewer max_workers"
            )
        return start(*args, **kwargs)

    return bounded
