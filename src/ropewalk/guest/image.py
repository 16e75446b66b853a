"""Moves what this process has in memory to large pages of a file in memory, of which it and its forks then have private views.

A fork copies the entries of the page tables for what its parent has in memory, one by one, and an exit takes each back: some five thousand
in an interpreter with all that twists import. For an area of a file that nobody has written to there is nothing to copy: what is used of
it is found again, and the interpreter's code, which lies in the file as it does in memory, by the large page. What a process writes is
its own, as before: the page is copied first. Nobody keeps the file open, and it is sealed.

Whatever Python does changes its memory, so it cannot copy that and then show the copy in its place: what changed in between would be lost.
The C library does it instead, call after call, each in a context of its own that hands over to the next (`makecontext(3)`), while Python
waits for the whole chain as for one call. Where there are no contexts (musl), or no large pages, everything stays as it was.

Before: `libraries`, which has joined what is alike, so that there are few areas. After: the forks of `root`. What they write, and what a
version imports on top, is theirs as it ever was.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from ropewalk.guest import kernel

_LARGE_PAGE: Final = 2 * 1024 * 1024

_PLACE: Final = 16 * 1024
"""Bytes for a context (a `ucontext_t`, less than a third of that everywhere) and, in their second half, its stack."""

_TRIES: Final = 5
"""How often it is begun anew: to prepare it takes memory, which may come from an area that was to be moved as it was."""

_PROTECTIONS: Final = {b"rw-p": mmap.PROT_READ | mmap.PROT_WRITE, b"r-xp": mmap.PROT_READ | mmap.PROT_EXEC}
"""Of the areas that are moved: data, and code."""

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Call = tuple[Any, Sequence[int]]
"""A function of the C library, and what it is given."""


class _Context(ctypes.Structure):
    """The beginning of `ucontext_t` (<ucontext.h>): who comes next, and the stack."""

    _fields_ = (
        ("flags", ctypes.c_ulong),
        ("successor", ctypes.c_void_p),
        ("stack", ctypes.c_void_p),
        ("stack_flags", ctypes.c_int),
        ("stack_size", ctypes.c_size_t),
    )


class Area(NamedTuple):
    """So many bytes of memory from `start`, in whole pages, the place in the file that they go to, and what may be done with them."""

    start: int
    length: int
    place: int
    protection: int


def move_to_file(process: int) -> bool:
    """Move the memory of this process, whose folder in /proc is open as `process`. It has one thread.

    Returns:
        Whether it was moved. Where the system has no means for that it stays where it is, and forks cost more.
    """
    try:
        return any(_moved(process) for _ in range(_TRIES))
    except (OSError, AttributeError):  # no file in memory, no room, no large pages; or no contexts
        return False


def _moved(process: int) -> bool:
    areas = _areas(process)
    size = _whole(areas[-1].place + areas[-1].length)
    places = (2 * len(areas) + 1) * _PLACE
    file = os.memfd_create("ropewalk-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(file, size)
        with mmap.mmap(-1, places + _LARGE_PAGE + size) as room:  # for the contexts, and behind them for a view of the file
            first = ctypes.addressof(ctypes.c_char.from_buffer(room))
            view = _whole(first + places)
            kernel.show(file, view, size)
            ctypes.memset(view, 0xFF, size)  # only pages that are there can be made large
            kernel.make_large(view, size)
            _chain(first, list(_calls(areas, file, view)))
            if _areas(process) != areas:
                return False
            _run(first)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    finally:
        os.close(file)
    return True


def _areas(process: int) -> list[Area]:
    """Read which areas are private and hold data or code, but for the stack, which all this runs on, and what the kernel maps."""
    areas: list[Area] = []
    place = 0
    with open(os.open("maps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process), "rb") as maps:
        for line in maps:
            bounds, access, *_, last = line.split()
            start, end = (int(bound, 16) for bound in bounds.split(b"-"))
            protection = _PROTECTIONS.get(access)
            if protection is None or last in {b"[stack]", b"[vdso]"}:
                continue
            if (
                protection & mmap.PROT_EXEC and end - start >= _LARGE_PAGE
            ):  # in step with memory, so that a large page is one entry
                place = _whole(place) + start % _LARGE_PAGE
            areas.append(Area(start, end - start, place, protection))
            place += end - start
    return areas


def _calls(areas: Sequence[Area], file: int, view: int) -> Iterator[Call]:
    """Say what is to be called: to copy all areas, and to show the copy of each where it was copied from."""
    libc = ctypes.CDLL(None)
    for area in areas:
        yield libc.memcpy, (view + area.place, area.start, area.length)
    kind = mmap.MAP_PRIVATE | kernel.MAP_FIXED
    for area in areas:
        yield libc.mmap, (area.start, area.length, area.protection, kind, file, area.place)


def _chain(first: int, calls: Sequence[Call]) -> None:
    """Make a context for each call, behind the place at `first` which is for who begins the chain and goes on after it."""
    libc = ctypes.CDLL(None)
    for number, (function, arguments) in enumerate(calls, 1):
        place = first + number * _PLACE
        libc.getcontext(ctypes.c_void_p(place))
        context = _Context.from_address(place)
        context.successor = first if number == len(calls) else place + _PLACE
        context.stack, context.stack_size = place + _PLACE // 2, _PLACE // 2
        address = ctypes.cast(function, ctypes.c_void_p)
        libc.makecontext(ctypes.c_void_p(place), address, len(arguments), *map(ctypes.c_size_t, arguments))


def _run(first: int) -> None:
    """Run the chain that was made, and come back."""
    ctypes.PyDLL(None).swapcontext(ctypes.c_void_p(first), ctypes.c_void_p(first + _PLACE))


def _whole(length: int) -> int:
    """Return `length` as a number of large pages, in bytes."""
    return (length + _LARGE_PAGE - 1) & -_LARGE_PAGE
