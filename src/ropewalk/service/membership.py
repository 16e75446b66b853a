"""A node among others on one database: its life, its lease, and the end of those that died.

A node holds a lock on a file beside the database for as long as it lives: the kernel lets go of it whatever kills the node, so whoever
can lock the file knows that the node is dead, and releases what it had leased at once. What still lives but no longer works (stopped,
frozen) is found by its expiry: heartbeats move it from a thread of their own, and a node that could not move it acts no more from
`MARGIN` seconds before it.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from ropewalk.clock import Clock, boot_id
from ropewalk.service import doorbell
from ropewalk.storage.interface import Storage, StorageError
from ropewalk.storage.records import Node

log = logging.getLogger(__name__)

LEASE = 15.0
"""Seconds that a node's leases outlive its last heartbeat."""

BEAT = 4.0
"""Seconds between heartbeats."""

MARGIN = 3.0
"""Seconds before its expiry at which a node stops acting by itself."""

_LOCK_SUFFIX = ".lock"


class Membership:
    """This node, to the others.

    Args:
        storage: where nodes are registered.
        clock: whose boot time bounds the lease.
        folder: where the lock files are.
        lost: called in the event loop when the node was declared dead and must stop at once.
    """

    def __init__(self, storage: Storage, clock: Clock, folder: Path, lost: Callable[[], None]) -> None:
        self.node = secrets.token_hex(6)
        self._storage = storage
        self._clock = clock
        self._folder = folder
        self._lost = lost
        self._boot = boot_id()
        self._expires = 0.0
        self._lock = -1
        self._beating = threading.Event()
        self._thread: threading.Thread | None = None

    async def join(self) -> None:
        """Register this node, take over what dead ones left, and begin to beat."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _hold(self._folder / (self.node + _LOCK_SUFFIX))
        self._expires = self._clock.boottime() + LEASE
        node = Node(id=self.node, boot=self._boot, expires=self._expires, started_at=self._clock.now())
        await self._storage.register(node)
        await self.bury_the_dead()
        self._thread = threading.Thread(target=self._beat, args=(asyncio.get_running_loop(),), name="heartbeat", daemon=True)
        self._thread.start()

    async def leave(self) -> None:
        """Give everything back and be gone."""
        self._beating.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        try:
            await self._storage.release(self.node, self._clock.now())
        except StorageError as error:
            log.warning("node %s could not say that it stops: %s", self.node, error)
        finally:
            _let_go(self._lock, self._folder / (self.node + _LOCK_SUFFIX))

    def holds_lease(self) -> bool:
        """Whether this node may still act in the outside world."""
        return self._clock.boottime() < self._expires - MARGIN

    async def bury_the_dead(self) -> int:
        """Release what dead nodes had leased; returns how many executions were running there."""
        released = 0
        for node in await self._storage.nodes():
            if node.id != self.node and self._is_dead(node):
                released += await self._storage.release(node.id, self._clock.now())
                (self._folder / (node.id + _LOCK_SUFFIX)).unlink(missing_ok=True)
        return released

    def _is_dead(self, node: Node) -> bool:
        return is_expired(node, self._boot, self._clock) or not is_held(self._folder / (node.id + _LOCK_SUFFIX))

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move the expiry until told to stop; a beat that storage cannot take is tried again at the next one."""
        while not self._beating.wait(BEAT):
            expires = self._clock.boottime() + LEASE
            try:
                alive = self._storage.heartbeat(self.node, expires)
            except StorageError as error:
                log.warning("node %s missed a heartbeat: %s", self.node, error)
                alive = self._clock.boottime() < self._expires
                expires = self._expires
            if not alive:
                log.error("node %s was declared dead and stops", self.node)
                loop.call_soon_threadsafe(self._lost)
                return
            self._expires = expires


def is_expired(node: Node, boot: str, clock: Clock) -> bool:
    """Whether a node's leases are over: it did not move its expiry in time, or the machine was started since."""
    return node.boot != boot or node.expires < clock.boottime()


def live_nodes(folder: Path) -> list[str]:
    """Return the ids of the nodes whose locks are held."""
    return [path.name.removesuffix(_LOCK_SUFFIX) for path in folder.glob(f"*{_LOCK_SUFFIX}") if is_held(path)]


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _hold(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # nobody else holds it but, for an instant, who looks whether this node lives
    return descriptor


def _let_go(descriptor: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(doorbell.SUFFIX).unlink(missing_ok=True)
    if descriptor >= 0:
        os.close(descriptor)
