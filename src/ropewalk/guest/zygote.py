"""A version zygote: confines itself, imports the author's module unless told not to, and then forks a process for each attempt.

It is not trusted once the author's module has been imported: the host checks each process that it makes from outside, and it is told
nothing but "fork". Everything that an attempt needs is made here, once: the import, the warmed heap, the filter in memory; what is left for
each fork is one system call without Python's fork hooks, and a few calls in the child.

Before: `root`, of which this is a fork. After: `author`, which imports the twist, and `attempt`, which is what each process runs.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec

from ropewalk.guest import door, immortal, kernel, pools, threads
from ropewalk.wire.control import CONTROL_LIMIT, FORK, FORK_AHEAD, HELLO, Import, ImportFailed, Spawn, ZygoteReport
from ropewalk.wire.plan import BUNDLE, BUNDLES, CONTROL_FD, PACKAGES, QUEUE_FD, TWIST, Confinement

_FORK_FLAGS: Final = kernel.CLONE_PARENT | kernel.CLONE_CHILD_SETTID | kernel.CLONE_CHILD_CLEARTID
_ANCILLARY: Final = socket.CMSG_SPACE(struct.calcsize("i"))
_DESCRIPTOR: Final = struct.Struct("i")

Attempt = Callable[[bool], NoReturn]
Prepare = Callable[[int, Import, str], tuple[Attempt | None, ZygoteReport]]


def serve(spawn: Spawn, confinement: Confinement) -> NoReturn:
    """Confine this process to its bundle, import the author's module, and fork attempts until the host closes its end."""
    no_fork = None if confinement.no_fork is None else kernel.Program(confinement.no_fork)
    tid_address = kernel.tid_address()
    control = socket.socket(fileno=CONTROL_FD)
    try:
        folder = confine(spawn.bundle, confinement)
    except OSError as error:
        control.send(str(error.strerror).encode()[:CONTROL_LIMIT])
        os._exit(1)
    control.send(HELLO)
    attempt = _import(control, folder, confinement)
    if attempt is not None:
        fork_attempts(control, attempt, no_fork, tid_address)
    os._exit(0)


def confine(bundle: str, confinement: Confinement) -> str:
    """Give up, for good, everything but reading the standard library and one bundle, computing, and forking attempts.

    Returns:
        Where that bundle is.
    """
    table = None if confinement.table is None else kernel.Program(confinement.table)
    if confinement.namespaces:
        _see_only(bundle)
    for limit in confinement.limits:
        _, most = resource.getrlimit(limit.resource)  # the node may have been started with less, which nobody here can raise
        value = limit.value if most == resource.RLIM_INFINITY else min(limit.value, most)
        resource.setrlimit(limit.resource, (value, value))
    kernel.drop_privileges(confinement.user)
    if confinement.namespaces:
        kernel.forbid_dumps()  # elsewhere the node would lose sight of its own processes
    _open_streams()
    if confinement.landlock is not None:
        kernel.restrict(confinement.landlock, bundle)
    if table is not None:
        table.install()
    return confinement.twist.replace(BUNDLE, bundle)


def _open_streams() -> None:
    """Open standard streams of this version's own: their flags, which those who share them can set, are seen by no other version."""
    os.closerange(0, 3)
    os.open(os.devnull, os.O_RDWR)  # the lowest that is free
    os.dup2(0, 1)
    os.dup2(0, 2)


def _see_only(bundle: str) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(f"{BUNDLES}/{bundle}", TWIST, None, kernel.MS_BIND | kernel.MS_REC)
    attributes = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
    kernel.set_mount_attributes(TWIST, attributes, below=True)
    kernel.detach(BUNDLES)


def _import(control: socket.socket, folder: str, confinement: Confinement) -> Attempt | None:
    """Make ready what the host names, in the bundle at `folder`, and say so to the host; None when it cannot be."""
    packet = control.recv(CONTROL_LIMIT)
    if not packet:
        return None
    request = msgspec.msgpack.decode(packet, type=Import)
    sys.path.append(folder)
    if os.path.isdir(packages := f"{folder}/{PACKAGES}"):
        sys.path.append(packages)  # last: no package can stand in for what the runtime itself uses
    threads.bound()
    if confinement.door:
        door.show()
    prepare: Prepare = importlib.import_module("ropewalk.guest.attempt").prepare
    attempt, report = prepare(CONTROL_FD, request, folder)
    settle_heap()
    pools.begin_new_ones()
    packet = msgspec.msgpack.encode(report)
    if len(packet) > CONTROL_LIMIT:
        problem = (
            f"what the twist declares takes {len(packet):,} bytes, more than {CONTROL_LIMIT:,}: declare fewer methods and options"
        )
        packet = msgspec.msgpack.encode(ImportFailed(type="ValueTooLarge", message=problem))
    control.send(packet)
    return attempt


def settle_heap(*, for_ever: bool = False) -> None:
    """Collect what is garbage and take the rest out of the collector's sight: what it never looks at stays shared between forks.

    `for_ever` has the rest live for ever: what is in use stays shared too. Not for an author's objects, which are to be finalised.
    """
    gc.collect()
    if for_ever:
        immortal.keep_all()
    gc.freeze()
    gc.disable()


def passed_descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors that came with a packet."""
    return [descriptor for _, _, data in ancillary for (descriptor,) in _DESCRIPTOR.iter_unpack(data)]


def fork_attempts(control: socket.socket, attempt: Attempt, no_fork: kernel.Program | None, tid_address: int) -> None:
    """Fork a process for each word from the host, until it closes its end.

    The process takes its connection from the queue itself, so that the zygote never holds one, and the host can insist on that.
    """
    queue = socket.socket(fileno=QUEUE_FD)
    gc.enable()  # for the attempts: here, next to nothing is ever made
    while word := control.recv(len(FORK)):
        try:
            pid = kernel.clone(_FORK_FLAGS, tid_address)
        except OSError:  # out of processes or memory: the host sees the connection close
            os.close(_take_connection(queue))
            continue
        if pid == 0:
            _become_attempt(queue, no_fork, attempt, word == FORK_AHEAD)


def _take_connection(queue: socket.socket) -> int:
    _, ((_, _, data),), _, _ = queue.recvmsg(len(FORK), _ANCILLARY)
    return int.from_bytes(data, sys.byteorder)


def _become_attempt(queue: socket.socket, no_fork: kernel.Program | None, attempt: Attempt, ahead: bool) -> NoReturn:
    """Be an attempt's process: it has one descriptor of its own and can make no other process."""
    try:
        connection = _take_connection(queue)
        os.dup2(connection, CONTROL_FD)
        os.closerange(QUEUE_FD, connection + 1)
        if no_fork is not None:
            no_fork.install()
        os.write(CONTROL_FD, HELLO)
        attempt(ahead)
    finally:
        os._exit(1)
