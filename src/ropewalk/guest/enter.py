"""The first process of the sandbox: makes its namespaces and its file tree, then becomes the root zygote.

It is run by the host, once per root zygote, in an interpreter of its own, with the plan on standard input and the number of the control
socket as last argument. What fails is written to standard error, in a sentence, and ends it with status 1. Before: `sandbox.launch`, which starts it.
After: `root`, which it becomes by exec, so that nothing of the host's memory, descriptors or environment is carried over.

The new process is made with CLONE_PARENT: its parent is the node itself, which gets its exit status and whose death ends it. It is the
first of its pid namespace, or where the host allows none of its process group, so all that runs in the sandbox ends with it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import PurePosixPath
from typing import Final, NoReturn

from ropewalk.guest import kernel
from ropewalk.wire.control import HELLO
from ropewalk.wire.plan import CONTROL_FD, DOOR_PORT, SELF_FD, Bind, Empty, Link, MountStep, Plan, Text, decode_plan

_OLD: Final = "/.host"
_STAGE: Final = "/tmp"  # noqa: S108 — a place to mount on, that every host has; nothing is written to the host's own
_MAPPED: Final = b"m"


def main() -> NoReturn:
    """Enter the sandbox as the plan says and run its program there."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        os.dup2(int(sys.argv[3]), CONTROL_FD)
        with open(0, "rb", closefd=False) as text:
            plan = decode_plan(text.read())
        os.lseek(0, 0, os.SEEK_SET)  # the root zygote reads the same plan
        _make_process(plan)
    except OSError as error:
        print(error.strerror, file=sys.stderr)  # noqa: T201 — the host reads it
        os._exit(1)
    os._exit(0)


def _make_process(plan: Plan) -> None:
    ready, tell = os.pipe()
    pid = kernel.clone(plan.namespaces | kernel.CLONE_PARENT)
    if pid == 0:
        os.close(tell)
        _be_first(plan, ready)
    if plan.uid_map:
        if not plan.set_groups:
            kernel.deny_setgroups(pid)
        kernel.write_id_map(pid, "uid", plan.uid_map)
        kernel.write_id_map(pid, "gid", plan.gid_map)
    os.write(tell, _MAPPED)


def _be_first(plan: Plan, ready: int) -> NoReturn:
    try:
        if os.read(ready, 1) != _MAPPED:
            os._exit(1)  # the other side has said why
        os.setsid()
        _say_hello(plan)
        os.dup2(os.open("/proc/self", os.O_PATH | os.O_DIRECTORY), SELF_FD)  # while there is a /proc
        if plan.namespaces:
            _settle_in(plan)
        os.umask(0o077)
        os.set_inheritable(CONTROL_FD, True)
        kernel.close_from(SELF_FD + 1)
        os.execve(plan.program[0], plan.program, plan.environment)  # noqa: S606 — there is no shell in the sandbox
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"{error.strerror}{where}", file=sys.stderr)  # noqa: T201 — the host reads it
    os._exit(1)


def _say_hello(plan: Plan) -> None:
    """Tell the host that there is a process. Where there is to be a door, what the host needs for it comes along, and none of it stays here."""
    with socket.socket(fileno=os.dup(CONTROL_FD)) as control:
        door: tuple[socket.socket, ...] = () if plan.networked is None else _make_door()
        socket.send_fds(control, [HELLO], [one.fileno() for one in door])
        for one in door:
            one.close()


def _make_door() -> tuple[socket.socket, ...]:
    """Return a listener on this network namespace's own loopback, and what the kernel answers on as to whose a connection is."""
    kernel.bring_up("lo")
    listener = socket.create_server(("127.0.0.1", DOOR_PORT), backlog=128)
    return listener, socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, kernel.NETLINK_SOCK_DIAG)


def _settle_in(plan: Plan) -> None:
    """Make the namespaces one's own. Whoever is first in one of processes takes them all along when it ends, so it may end with the node.

    Without one it must outlive the node for a moment: to end the others, which are of its process group (`root.main`).
    """
    kernel.die_with_parent(signal.SIGKILL)
    socket.sethostname(plan.hostname)
    build_tree(plan.mounts)


def build_tree(steps: list[MountStep]) -> None:
    """Make a new root that shows only what `steps` say, and let go of the host's.

    The new root is pivoted to before anything is bound, so that sources below the place it is staged at are still seen.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("ropewalk", _STAGE, "tmpfs", kernel.MS_NOSUID_NODEV, "mode=0755,size=1m")
    os.mkdir(_STAGE + _OLD, 0o755)
    kernel.pivot_root(_STAGE, _STAGE + _OLD)
    os.chdir("/")
    for step in steps:
        _carry_out(step)
    kernel.detach(_OLD)
    os.rmdir(_OLD)
    kernel.set_mount_attributes("/", kernel.MOUNT_ATTR_RDONLY, below=False)


def _carry_out(step: MountStep) -> None:
    match step:
        case Bind():
            _bind(step)
        case Empty():
            os.makedirs(step.target, 0o755, exist_ok=True)
            kernel.mount("empty", step.target, "tmpfs", kernel.MS_NOSUID_NODEV, "mode=0555,size=4k")
            kernel.set_mount_attributes(step.target, kernel.MOUNT_ATTR_RDONLY, below=False)
        case Link():
            _make_parent(step.target)
            os.symlink(step.to, step.target)
        case Text():
            _make_parent(step.target)
            with open(step.target, "x", encoding="utf-8") as file:
                file.write(step.text)
                os.fchmod(file.fileno(), 0o444)


def _bind(step: Bind) -> None:
    source = _OLD + step.source
    if os.path.isdir(source):
        os.makedirs(step.target, 0o755, exist_ok=True)
    else:
        _make_parent(step.target)
        os.close(os.open(step.target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    kernel.mount(source, step.target, None, kernel.MS_BIND | kernel.MS_REC)
    attributes = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID
    if not step.device:
        attributes |= kernel.MOUNT_ATTR_NODEV
    kernel.set_mount_attributes(step.target, attributes, below=True)


def _make_parent(path: str) -> None:
    os.makedirs(PurePosixPath(path).parent, 0o755, exist_ok=True)
