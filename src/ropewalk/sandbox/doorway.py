"""The door's threshold: takes connections from inside the sandbox and finds the attempt whose each one is.

Nothing that comes over a connection says whose it is: the kernel does (`owners`), and only a process that runs an attempt at this moment, and
is told of its connections, gets any. Everybody else's is closed at once: a zygote's, that of a process whose event has not come, or of one
that has ended.

Before: `guest.enter` made the listener, in the sandbox's own network namespace. After: `dispatch.attempt`, by way of `processes`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from typing import Final

from ropewalk.sandbox.owners import inode_of
from ropewalk.sandbox.processes import ForkedProcess
from ropewalk.sandbox.reactor import Deadline, Reactor

_PAUSE: Final = 0.1
"""Seconds for which no connection is taken when the node has no descriptor left for one."""

_BUFFER: Final = 64 * 1024
"""Bytes that the kernel keeps of a connection in either direction on the host's side."""

_logger: Final = logging.getLogger(__name__)


class Doorway:
    """The listener of one sandbox, until it is closed.

    Args:
        reactor: sees to its descriptor.
        listener: listens inside.
        diag: what to ask whose a connection is, a netlink socket of the same namespace.
        guests: gives the processes that may be it.
    """

    def __init__(
        self, reactor: Reactor, listener: socket.socket, diag: socket.socket, guests: Callable[[], Iterable[ForkedProcess]]
    ) -> None:
        self._reactor = reactor
        self._listener = listener
        self._diag = diag
        self._guests = guests
        self._paused: Deadline | None = None
        listener.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            listener.setsockopt(socket.SOL_SOCKET, option, _BUFFER)  # connections inherit it
        self._watch()

    def close(self) -> None:
        """Take no more connections."""
        if self._paused is not None:
            self._reactor.cancel(self._paused)
        self._reactor.forget(self._listener.fileno())
        self._listener.close()
        self._diag.close()

    def _watch(self) -> None:
        self._paused = None
        self._reactor.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, peer = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            _logger.warning("connections of twists wait: %s", error.strerror)
            self._reactor.forget(self._listener.fileno())
            self._paused = self._reactor.call_later(_PAUSE, self._watch)
            return
        connection.setblocking(False)
        inode = inode_of(self._diag, peer, connection.getsockname())
        owner = None if inode is None else next((guest for guest in self._guests() if guest.holds_socket(inode)), None)
        if owner is None:
            connection.close()
        else:
            owner.give_connection(connection)
