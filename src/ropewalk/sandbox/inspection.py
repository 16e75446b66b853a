"""What can be seen of a guest's process from outside, in the host's /proc: nothing that the process says of itself.

Each function reads what is true at that moment; who calls them decides what it means. A process that is gone raises ProcessLookupError or
FileNotFoundError, both OSError.
"""

from __future__ import annotations

import os
from typing import Final

from msgspec import Struct

_NULL_DEVICE: Final = os.stat(os.devnull).st_rdev
_FIRST: Final = 3


class Status(Struct, frozen=True, kw_only=True):
    """From /proc/PID/status: `pid` is its number inside the sandbox; sizes are bytes, 0 when it has no memory any more.

    `peak` is the most that was resident, `data` what could be written now, `data_peak` the most of that, whether touched or not: the
    peak of the address space, less what is mapped from files now.
    """

    parent: int
    pid: int
    peak: int
    data: int
    data_peak: int
    threads: int


def read_status(fd: int) -> Status:
    """Return what an open /proc/PID/status says now."""
    text = os.pread(fd, 8192, 0)
    data = _kilobytes(text, b"\nVmData:\t")
    return Status(
        parent=int(_field(text, b"\nPPid:\t")),
        pid=int(_field(text, b"\nNSpid:\t").split()[-1]),
        peak=_kilobytes(text, b"\nVmHWM:\t"),
        data=data,
        data_peak=_kilobytes(text, b"\nVmPeak:\t") - _kilobytes(text, b"\nVmSize:\t") + data,
        threads=int(_field(text, b"\nThreads:\t")),
    )


def _field(text: bytes, name: bytes) -> bytes:
    start = text.find(name)
    return text[start + len(name) : text.find(b"\n", start + 1)] if start >= 0 else b""


def _kilobytes(text: bytes, name: bytes) -> int:
    """Return a size in bytes; a process that has ended has no memory, and no such line."""
    return int(_field(text, name).removesuffix(b" kB") or 0) * 1024


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
