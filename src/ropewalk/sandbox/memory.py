"""How much memory this host has to spare: what is free on the machine, and what is left to this node's control group.

Read once, before anything runs. Before: nothing. After: `source`, unless the operator says how much there is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PART: Final = 0.75
"""How much of what is free is for guests; the rest is for the node itself, the database's cache and whoever else is there."""

_UNLIMITED: Final = 1 << 60
"""Bytes from which on a control group's limit is none: version 1 says so with the largest number that it has."""


def memory_for_guests(root: str = "/") -> int:
    """Return how many bytes everything in the sandbox may take together unless the operator says otherwise."""
    return int(_PART * free_memory(root))


def free_memory(root: str = "/") -> int:
    """Return how many bytes could be taken now without swapping, on the machine whose /proc and /sys are below `root`."""
    base = Path(root)
    return min(_available(base), *_left_to_groups(base), _UNLIMITED)


def _available(base: Path) -> int:
    for line in (base / "proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED


def _left_to_groups(base: Path) -> Iterator[int]:
    """Return what is left of the limits of this process's control group and of those above it, of version 2 and version 1."""
    with contextlib.suppress(OSError):
        for line in (base / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _left(base / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                files = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
                yield from _left(base / "sys/fs/cgroup/memory", path, *files)


def _left(mount: Path, path: str, limit: str, used: str, cache: str) -> Iterator[int]:
    # In a container the path may be one of the host's, which does not exist here: then the mount itself is this container's group.
    group = mount / path.lstrip("/")
    for folder in [group, *group.parents]:
        if not folder.is_relative_to(mount):
            return
        with contextlib.suppress(OSError, ValueError):  # no such group here, or `max`
            most = int((folder / limit).read_text(encoding="ascii"))
            if most < _UNLIMITED:
                taken = int((folder / used).read_text(encoding="ascii"))
                yield max(0, most - taken + _cached(folder, cache))


def _cached(folder: Path, name: str) -> int:
    """Return the bytes of files that the kernel keeps for a group and can let go of."""
    for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return 0
