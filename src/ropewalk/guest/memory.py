"""What happens when there is no more memory: the execution is over, whoever would have caught the error.

The kernel refuses what would go beyond a process's limit, of which nothing can be seen from outside; Python makes a MemoryError of it, and
authors' code may catch that and go on. A limit ends an execution. So the error that Python raises is a class of ours, which says the last
word instead of being made. Since 3.12 Python keeps such errors made beforehand, which run no code of ours: there the last word is said when
one is raised, before any handler has it (PEP 669). Whoever gets around it has no more memory for it.

Before: `attempt`, which says what the last word is. After: the host, which ends the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any, Final, Self, cast

_PYTHONS_OWN: Final = cast("ctypes.py_object[type[MemoryError]]", ctypes.py_object.in_dll(ctypes.pythonapi, "PyExc_MemoryError"))
"""What the interpreter raises when it can have no more memory."""

_TOOL: Final = 3
"""Of the tools that may watch an interpreter, the first that no debugger, coverage or profiler is known as."""

_NAME: Final = "ropewalk"

_last_word: tuple[int, bytes] | None = None


class OutOfMemory(MemoryError):
    """Is never made while an event runs: the process waits for its end instead, in whatever thread this happens."""

    def __new__(cls, *args: Any) -> Self:
        """Say the last word."""
        _say_last_word()
        return super().__new__(cls, *args)


def install() -> None:
    """Have Python raise our error, or tell us of its own; in the version zygote, once the author's module has been imported."""
    if sys.version_info < (3, 12):
        _PYTHONS_OWN.value = OutOfMemory
    else:
        listen()


def listen() -> None:
    """Have Python tell us of what is raised, where it can; in the root zygote, before anything runs there that forks run too.

    Whenever that changes, Python prepares all code anew, each when it next runs, and writes so to it (`_Py_Instrument`): in every fork,
    unless it ran before the fork.
    """
    if sys.version_info < (3, 12):
        return
    monitoring = sys.monitoring
    if monitoring.get_tool(_TOOL) != _NAME:
        monitoring.free_tool_id(_TOOL)
        monitoring.use_tool_id(_TOOL, _NAME)
    monitoring.register_callback(_TOOL, monitoring.events.RAISE, _on_raise)
    monitoring.set_events(_TOOL, monitoring.events.RAISE)  # changes nothing where they are set


def _on_raise(_code: object, _offset: int, error: BaseException) -> None:
    if type(error) is MemoryError:  # and not a class that is derived from it, which an author's or a library's code has made
        _say_last_word()


def _say_last_word() -> None:
    """Wait for the end, where a last word was given. It was made beforehand, since there is nothing left to make it of."""
    if _last_word is not None:
        os.write(*_last_word)
        while True:
            signal.pause()


def end_with(fd: int, last_word: bytes) -> None:
    """From now on, write `last_word` to `fd` when there is no more memory, and run no more of the author's code."""
    global _last_word
    _last_word = fd, last_word
