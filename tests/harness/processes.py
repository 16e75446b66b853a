"""The processes below a node, found through /proc: the root zygote, version zygotes, attempts."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Tree:
    """The processes of one sandbox."""

    root: list[int]
    versions: list[int]
    attempts: list[int]


def zygote_tree(pid: int) -> Tree:
    """Return the processes of the sandbox below a node, by what they are.

    The first process of the pid namespace is the root zygote. Every other is a child of it; attempts carry one seccomp filter more than
    the version zygotes that forked them.
    """
    inside = {process: _status(process) for process in below(pid)}
    root = [process for process, status in inside.items() if status.get("NSpid", "").split()[1:] == ["1"]]
    filters = {
        process: int(inside[process].get("Seccomp_filters", "0"))
        for one in root
        for process in children(one)
        if process in inside
    }
    confined = [count for count in filters.values() if count]
    fewest = min(confined, default=0)
    return Tree(
        root=root,
        versions=[process for process, count in filters.items() if count == fewest],
        attempts=[process for process, count in filters.items() if count > fewest],
    )


def _status(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {}


def lives(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def cpu_ticks(pid: int) -> int:
    """Return the CPU time that a process has used, in hundredths of a second; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def kill(pid: int) -> None:
    """End a process with SIGKILL, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    """Freeze a process."""
    os.kill(pid, signal.SIGSTOP)


def living(pids: list[int]) -> Iterator[int]:
    """Yield those of the processes that live."""
    return (pid for pid in pids if lives(pid))
