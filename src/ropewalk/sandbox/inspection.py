"""What can be seen of a guest's process from outside, in the host's /proc: nothing that the process says of itself.

Each function reads what is true at that moment; who calls them decides what it means. A process that is gone raises ProcessLookupError or
FileNotFoundError, both OSError.
"""

from __future__ import annotations

import os
import re
from typing import Final

from msgspec import Struct

_STATUS: Final = re.compile(
    rb"\nPPid:\t(\d+)\n.*\nNSpid:\t(?:\d+\t)*(\d+)\n(?:.*\nVmHWM:\s+(\d+) kB\n.*\nVmData:\s+(\d+) kB\n)?.*\nThreads:\t(\d+)\n",
    re.DOTALL,
)
_NULL_DEVICE: Final = os.stat(os.devnull).st_rdev


class Status(Struct, frozen=True, kw_only=True):
    """From /proc/PID/status: `pid` is its number inside the sandbox, `peak` and `data` are bytes, 0 when it has no memory any more."""

    parent: int
    pid: int
    peak: int
    data: int
    threads: int


def read_status(fd: int) -> Status:
    """Return what an open /proc/PID/status says now."""
    text = os.pread(fd, 8192, 0)
    found = _STATUS.search(text)
    if found is None:
        raise ProcessLookupError("the process has ended")
    parent, pid, peak, data, threads = (int(group or 0) for group in found.groups())
    return Status(parent=parent, pid=pid, peak=peak * 1024, data=data * 1024, threads=threads)


def open_status(pid: int) -> int:
    """Return a descriptor of /proc/PID/status, which stays that process's own."""
    return os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)


def holds_socket(pid: int, inode: int) -> bool:
    """Whether any descriptor of the process is the socket `inode`."""
    folder, socket = f"/proc/{pid}/fd", f"socket:[{inode}]"
    for name in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{name}") == socket:
                return True
        except FileNotFoundError:
            pass  # closed meanwhile
    return False


def holds_only(pid: int, inode: int) -> bool:
    """Whether the process has the null device as 0 to 2, the socket `inode` as 3, and nothing else open."""
    folder = f"/proc/{pid}/fd"
    return (
        sorted(os.listdir(folder)) == ["0", "1", "2", "3"]
        and os.readlink(f"{folder}/3") == f"socket:[{inode}]"
        and all(os.stat(f"{folder}/{number}").st_rdev == _NULL_DEVICE for number in (0, 1, 2))
    )


def writable_shared_mappings(pid: int) -> list[str]:
    """Return the lines of /proc/PID/maps for memory that is shared and can be written."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        return [line.strip() for line in maps if line.split()[1].endswith("s") and "w" in line.split()[1]]
