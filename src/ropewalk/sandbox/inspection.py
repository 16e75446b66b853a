"""What can be seen of a guest's process from outside, in the host's /proc: nothing that the process says of itself.

Each function reads what is true at that moment; who calls them decides what it means. A process that is gone raises ProcessLookupError or
FileNotFoundError, both OSError.
"""

from __future__ import annotations

import os
import re
from typing import Final

from msgspec import Struct

_NULL_DEVICE: Final = os.stat(os.devnull).st_rdev
_FIRST: Final = 3


class Status(Struct, frozen=True, kw_only=True):
    """From /proc/PID/status: `pid` is its number inside the sandbox; sizes are bytes, 0 when it has no memory any more.

    `peak` is the most that was resident. `data` is what is mapped to be written, touched or not, and `held` what counts against the limit
    of memory: that, the stack, and the page tables, which can be larger than what they lead to. `held_peak` is the most that was held: the
    peak of the address space, less what is mapped from files now.
    """

    parent: int
    pid: int
    peak: int
    data: int
    held: int
    held_peak: int
    threads: int


# One pass over the text: field by field it takes three times as long, and it is read twice for every process. A process that has ended
# has no memory, and no such lines.
_READ_STATUS: Final = re.compile(
    rb"\nPPid:\t(\d+)\n.*?\nNSpid:\t(?:\d+\t)*(\d+)\n"
    rb"(?:.*?\nVmPeak:\t *(\d+) kB\nVmSize:\t *(\d+) kB\n.*?\nVmHWM:\t *(\d+) kB\n"
    rb".*?\nVmData:\t *(\d+) kB\nVmStk:\t *(\d+) kB\n.*?\nVmPTE:\t *(\d+) kB\n)?"
    rb".*?\nThreads:\t(\d+)\n",
    re.DOTALL,
).search


def read_status(fd: int) -> Status:
    """Return what an open /proc/PID/status says now."""
    found = _READ_STATUS(os.pread(fd, 8192, 0))
    assert found is not None, "the kernel's own words"
    parent, pid, most, size, peak, data, stack, tables, threads = map(int, found.groups(b"0"))
    held = (data + stack + tables) * 1024
    return Status(
        parent=parent,
        pid=pid,
        peak=peak * 1024,
        data=data * 1024,
        held=held,
        held_peak=held + (most - size) * 1024,
        threads=threads,
    )


def status_of(pid: int) -> Status:
    """Return what /proc/PID/status says now."""
    fd = open_status(pid)
    try:
        return read_status(fd)
    finally:
        os.close(fd)


def open_status(pid: int) -> int:
    """Return a descriptor of /proc/PID/status, which stays that process's own."""
    return os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process of one thread is the parent of, those that are not reaped yet included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return [int(child) for child in children.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [one for one in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent_of(one) == pid]


def _parent_of(pid: int) -> int:
    try:
        return status_of(pid).parent
    except OSError:
        return 0


def mounts_of(pid: int) -> str | None:
    """Return which mount namespace a process lives in; None when it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None


class Descriptors:
    """The open descriptors of a process, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self._folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Look no more."""
        os.close(self._folder)

    def include(self, inode: int) -> bool:
        """Whether any of them is the socket `inode`."""
        socket, folder = f"socket:[{inode}]", self._folder
        for name in os.listdir(folder):
            try:
                if os.readlink(name, dir_fd=folder) == socket:
                    return True
            except FileNotFoundError:
                pass  # closed meanwhile
        return False


def holds_only(pid: int, *inodes: int) -> bool:
    """Whether the process has the null device as 0 to 2, the sockets `inodes` from 3 on, and nothing else open."""
    folder = f"/proc/{pid}/fd"
    if len(os.listdir(folder)) != _FIRST + len(inodes):
        return False
    try:
        return all(os.stat(f"{folder}/{number}").st_rdev == _NULL_DEVICE for number in range(_FIRST)) and all(
            os.readlink(f"{folder}/{number}") == f"socket:[{inode}]" for number, inode in enumerate(inodes, _FIRST)
        )
    except FileNotFoundError:
        return False


def writable_shared_mappings(pid: int) -> list[str]:
    """Return the lines of /proc/PID/maps for memory that is shared and can be written."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        return [line.strip() for line in maps if line.split()[1].endswith("s") and "w" in line.split()[1]]
