"""The control group around a node's guests: a backstop for all of them together, where the host has delegated one (cgroup v2).

What bounds memory is the watch over each process and the room that executions wait for; this holds should both be late. Before: `facts`,
which finds the delegated group, and `profile`, which says what is written to it. After: `source`, which puts the root zygote into it before
that has forked: whatever is forked stays in there.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from msgspec import Struct

_NODE: Final = "node"
_GUESTS: Final = "guests"
_CONTROLLERS: Final = frozenset({"memory", "pids"})
_MARKS: Final = ("user.delegate", "trusted.delegate")
"""What systemd marks a group with that it has delegated (`Delegate=yes`)."""

_MOST_PROCESSES: Final = 4096
"""Processes and threads of all guests together."""


class ControlGroup(Struct, frozen=True, kw_only=True):
    """The delegated group `path`, and what is written to the files of the group of guests below it."""

    path: str
    guests: dict[str, str]


def describe_group(path: str, memory: int) -> ControlGroup:
    """Return the group for guests that have `memory` bytes together: a quarter more, so that the node's own account is first to act."""
    guests = {"memory.max": str(memory + memory // 4), "memory.swap.max": "0", "pids.max": str(_MOST_PROCESSES)}
    return ControlGroup(path=path, guests=guests)


def delegated_group(root: str = "/") -> str | None:
    """Return the group that was delegated to this process alone, on the machine whose /proc and /sys are below `root`; None without one."""
    base = Path(root)
    with contextlib.suppress(OSError):
        for line in (base / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                group = base / "sys/fs/cgroup" / line.removeprefix("0::").lstrip("/")
                # Its own first subgroup is where this process is when it has had a sandbox before.
                if group.name == _NODE and _is_delegated(group.parent):
                    return str(group.parent)
                if _is_delegated(group) and (group / "cgroup.procs").read_text(encoding="ascii").split() == [str(os.getpid())]:
                    return str(group)
    return None


def _is_delegated(group: Path) -> bool:
    controllers = (group / "cgroup.controllers").read_text(encoding="ascii").split()
    return set(controllers) >= _CONTROLLERS and os.access(group / "cgroup.subtree_control", os.W_OK) and _is_ours(group)


def _is_ours(group: Path) -> bool:
    """Whether the group was given away, not only left open: root may write to everybody's."""
    if any(_is_marked(group, mark) for mark in _MARKS):
        return True
    return os.geteuid() != 0 and group.stat().st_uid == os.geteuid()


def _is_marked(group: Path, mark: str) -> bool:
    try:
        return os.getxattr(group, mark) == b"1"
    except OSError:
        return False


def put_into(group: ControlGroup, pid: int) -> None:
    """Divide the delegated group into one for this process and one for guests, and put `pid`, which has forked nothing yet, into that.

    A group that gives its controllers on may hold no process itself: so this process moves first.

    Raises:
        OSError: the host does not let it.
    """
    base = Path(group.path)
    node, guests = base / _NODE, base / _GUESTS
    node.mkdir(exist_ok=True)
    _write(node / "cgroup.procs", str(os.getpid()))
    _write(base / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(_CONTROLLERS)))
    guests.mkdir(exist_ok=True)
    for name, value in group.guests.items():
        if (guests / name).exists():  # a kernel that does not account for swap has no file for it
            _write(guests / name, value)
    _write(guests / "cgroup.procs", str(pid))


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="ascii") as opened:
        opened.write(text)
