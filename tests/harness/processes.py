"""The processes below a node, found through /proc: the root zygote, version zygotes, attempts."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes that `pid` is the parent of."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found


def below(pid: int) -> list[int]:
    """Return every process below `pid`."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def lives(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def kill(pid: int) -> None:
    """End a process with SIGKILL, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def living(pids: list[int]) -> Iterator[int]:
    """Yield those of the processes that live."""
    return (pid for pid in pids if lives(pid))
