"""How processes on one database tell each other that there is something new: one byte to a datagram socket beside the database.

A ring may be lost and says nothing of what is new: whoever hears it looks in the database. A slow poll makes up for lost rings.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIX = ".bell"

EVERY = 0.02
"""Seconds between two rings of a Ringer."""


def ring(folder: Path) -> None:
    """Ring every doorbell of the folder; those that nobody answers any more are left alone."""
    if not folder.is_dir():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for bell in folder.glob(f"*{SUFFIX}"):
            # A full socket has been rung already; one that refuses belongs to a process that is gone.
            with contextlib.suppress(OSError), _short(bell) as address:
                sender.sendto(b"!", address)


class Ringer:
    """Rings for what comes often: at once, and then no more than once every `EVERY` seconds.

    Args:
        folder: where the doorbells are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._timer: asyncio.TimerHandle | None = None
        self._again = False

    def ring(self) -> None:
        """Ring now or soon."""
        if self._timer is not None:
            self._again = True
            return
        ring(self._folder)
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._again:
            self._again = False
            self.ring()


class Doorbell:
    """This process's doorbell.

    Args:
        path: where it is; its name ends with `SUFFIX`.
        heard: called in the event loop for each ring, or for several at once.
    """

    def __init__(self, path: Path, heard: Callable[[], None]) -> None:
        self._path = path
        self._heard = heard
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with _short(self._path) as address:
            self._socket.bind(address)
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    def stop(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._path.unlink(missing_ok=True)

    def _on_readable(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(16):
                pass
        self._heard()


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give an address for the socket at `path` that fits the 108 bytes of `sun_path`, however deep the folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
