"""What an attempt says of the exception that ended it: whether it is tried again, what it was, and where in the author's code.

The exception is the author's: its `__str__`, its type's name and its attributes may do anything. Whatever they do, something is said.
"""

from __future__ import annotations

import asyncio
import importlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, cast

from ropewalk.errors import GiveUp, HTTPStatusError, Retry
from ropewalk.wire.messages import Raised

MESSAGE_LIMIT: Final = 16 * 1024
"""Most characters of a message."""

TRACEBACK_LIMIT: Final = 48 * 1024
"""Most characters of a traceback; the middle of a longer one is left out."""

_FRAMES: Final = 120
_PACKAGE: Final = Path(__file__).parent.parent
_OURS: Final = (f"{_PACKAGE}/guest/", f"{_PACKAGE}/sdk/")
_LEADING: Final = (*_OURS, *(f"{Path(str(part.__file__)).parent}/" for part in (asyncio, importlib)), "<frozen importlib")
_WAITS: Final = (429, 503)
_LONGEST_DELAY: Final = 1e9

Kind = Literal["error", "retry", "retry_at_least", "give_up", "unretried"]


def raised(error: BaseException, *, unretried: bool = False) -> Raised:
    """Return what is said of an exception; `unretried` when no later attempt could do better."""
    kind, after = ("unretried", None) if unretried else _kind(error)
    return Raised(kind=kind, type=_name(error), message=message_of(error), traceback=traceback_of(error), after=after)


def out_of_memory(limit: int) -> Raised:
    """Return what is said when the memory limit was reached."""
    return Raised(
        kind="error",
        type="memory_limit",
        message=f"it needed more than the {limit:,} bytes of memory that it may have: load less at once, and go on with self.run_task()",
        traceback="",
    )


def message_of(error: BaseException) -> str:
    """Return the exception's own text, cut to its limit."""
    try:
        text = str.__str__(str(error))
    except BaseException as failure:  # noqa: BLE001 — the author's __str__ may raise anything
        return f"<its __str__ raised {_name(failure)}>"
    return _clean(text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}… ({len(text):,} characters)")


def traceback_of(error: BaseException) -> str:
    """Return the traceback as Python prints it, without the runtime's own frames."""
    try:
        report = traceback.TracebackException(type(error), error, error.__traceback__, limit=-_FRAMES, compact=True)
        _strip(report, set())
        return _clean(_cut("".join(report.format())))
    except BaseException as failure:  # noqa: BLE001 — its attributes, and its class's, may raise anything
        return f"<the traceback cannot be shown: {_name(failure)}>"


def _kind(error: BaseException) -> tuple[Kind, float | None]:
    """Say what is asked for, by the exception itself or, of a group, by one of those in it."""
    try:
        asked = list(_leaves(error))
        if any(issubclass(type(leaf), GiveUp) for leaf in asked):
            return "give_up", None
        delays = [leaf.after for leaf in asked if isinstance(leaf, Retry)]
        if delays:
            return "retry", min(max(0.0, *delays), _LONGEST_DELAY)
        waits = [leaf.response.retry_after() for leaf in asked if isinstance(leaf, HTTPStatusError) and leaf.status in _WAITS]
    except BaseException:  # noqa: BLE001 — its attributes may raise anything
        return "error", None
    longest = max((wait for wait in waits if wait is not None), default=None)
    return ("error", None) if longest is None else ("retry_at_least", longest)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        parts: tuple[BaseException, ...] = cast("Any", error).exceptions
        for part in parts:
            yield from _leaves(part)
    else:
        yield error


def _name(error: BaseException) -> str:
    try:
        return _clean(str.__str__(type(error).__name__))[:200]
    except BaseException:  # noqa: BLE001 — a metaclass may raise anything
        return "Exception"


def _strip(report: traceback.TracebackException, seen: set[int]) -> None:
    """Take our own frames out of a traceback, of its causes and of the parts of a group."""
    if id(report) in seen:
        return
    seen.add(id(report))
    frames = list(report.stack)
    while frames and frames[0].filename.startswith(_LEADING):
        frames.pop(0)
    theirs = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    if theirs or report.exc_type is SyntaxError:  # else the fault is the runtime's own, and the frames are what there is to say
        report.stack[:] = theirs
    for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
        if other is not None:
            _strip(other, seen)


def _cut(text: str) -> str:
    if len(text) <= TRACEBACK_LIMIT:
        return text
    half = TRACEBACK_LIMIT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def _clean(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
