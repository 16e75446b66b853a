"""Joins what the linker has mapped of each shared library in five parts into two, so that a fork has half as many areas to copy.

A library's headers, code and constants are each mapped for themselves, though nothing of them is ever written to; what was relocated is kept
apart from its other data. An area costs each fork, and each exit, a microsecond or two, and some fifty libraries are loaded. What is given up
for it is that constants cannot be run and that relocated addresses cannot be written: guards against mistakes within a process, which an
attempt's own code, native or not, was never held by.

Before: `root`, which has imported everything. After: its forks, which inherit what was joined; what a version loads on top stays as it is mapped.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import struct
from collections.abc import Iterator
from typing import ClassVar, Final, NamedTuple

from ropewalk.guest import kernel

_IDENTITY: Final = b"\x7fELF\x02\x01"
_HEADER: Final = struct.Struct("<16xHHIQQQIHHH")
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
_PT_LOAD: Final = 1
_PT_GNU_RELRO: Final = 0x6474_E552
_PF_W: Final = 2


class _Library(ctypes.Structure):
    """The public part of the linker's `struct link_map` (`<link.h>`)."""

    _fields_: ClassVar = [
        ("base", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("dynamic", ctypes.c_void_p),
        ("next", ctypes.c_void_p),
    ]


class Area(NamedTuple):
    """So many bytes from `start`, in whole pages, that are to be of one protection."""

    start: int
    length: int
    protection: int


def join() -> None:
    """Join the parts of all libraries that are loaded: areas that are alike and side by side become one."""
    for library in _loaded():
        for area in _areas_of(library.base):
            with contextlib.suppress(OSError):  # the system forbids it: then it stays as dear as it was
                kernel.protect(*area)


def _loaded() -> Iterator[_Library]:
    address: int | None = kernel.program_handle()  # of the program itself it is the linker's list of all that is loaded
    while address:
        library = _Library.from_address(address)
        if library.base and library.name.startswith(b"/"):  # neither the program nor what the kernel maps
            yield library
        address = library.next


def _areas_of(base: int) -> Iterator[Area]:
    """Read a library's headers, which are mapped where it begins, and return what is to be alike in it."""
    if ctypes.string_at(base, len(_IDENTITY)) != _IDENTITY:
        return
    unwritten: list[tuple[int, int]] = []
    for kind, flags, address, length in _segments_of(base):
        first, beyond = _page(base + address), base + address + length
        if kind == _PT_GNU_RELRO:
            yield Area(first, _page(beyond) - first, mmap.PROT_READ | mmap.PROT_WRITE)
        elif kind == _PT_LOAD and not flags & _PF_W:
            end = _page(beyond + mmap.PAGESIZE - 1)
            if unwritten and unwritten[-1][1] == first:
                first, _ = unwritten.pop()
            unwritten.append((first, end))
    for first, end in unwritten:
        yield Area(first, end - first, mmap.PROT_READ | mmap.PROT_EXEC)


def _segments_of(base: int) -> Iterator[tuple[int, int, int, int]]:
    """Return each segment's kind, flags, address from the base, and length in memory (`Elf64_Phdr` of `<elf.h>`), in the order of addresses."""
    header = _HEADER.unpack(ctypes.string_at(base, _HEADER.size))
    offset, size, count = header[4], header[8], header[9]
    for place in range(count):
        segment = _PROGRAM_HEADER.unpack(ctypes.string_at(base + offset + place * size, _PROGRAM_HEADER.size))
        yield segment[0], segment[1], segment[3], segment[6]


def _page(address: int) -> int:
    return address & -mmap.PAGESIZE
