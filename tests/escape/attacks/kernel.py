"""The kernel's other doors: programs and rings in it, mounts, namespaces, shared memory, executable memory, foreign numbers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pty
import resource
import secrets
import struct
from collections.abc import Iterator
from fcntl import ioctl

from msgspec.structs import replace

from ropewalk.wire.plan import Bind
from tests.escape.guards import Guard, foreign_entries, landlock, limit, namespace, no_fork, privileges, seccomp, together
from tests.escape.harness import Attack, Bait, bait_taken, says_secret

RETURN_42 = bytes.fromhex("b82a000000 c3")
"""A function that returns 42."""

INT_80 = bytes.fromhex("53 89f8 89f3 cd80 5b c3")
"""A function that makes the 32-bit system call of its first argument, with its second."""

MEMORY = seccomp("mmap", "mprotect", "pkey_mprotect", "memfd_create", "personality", "shmget", "shmat", "remap_file_pages")
MOUNTING = seccomp(
    "mount", "umount2", "fsopen", "fsmount", "fsconfig", "open_tree", "move_mount", "mount_setattr", "pivot_root", "chroot"
)
NAMESPACES = seccomp("unshare", "setns", "pidfd_open")
RINGS = seccomp("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd", "kexec_load")
KEYS = seccomp("add_key", "keyctl", "request_key")
SHARING = seccomp("shmget", "shmat", "shmctl", "semget", "semop", "msgget", "msgsnd", "msgrcv", "mq_open", "mq_unlink")
PAGES = seccomp(
    "mlock", "mlockall", "mincore", "splice", "vmsplice", "tee", "sendfile", "copy_file_range", "process_madvise", "memfd_secret"
)
LOCKS = seccomp("flock", "fcntl")
CPU = seccomp("modify_ldt", "arch_prctl", "iopl", "ioperm")
FILTERS = seccomp("seccomp", "prctl")
PINNED = limit(resource.RLIMIT_MEMLOCK, 65_536)
TERMINALS = Guard(
    name="mounts(terminals)",
    profile=lambda profile: replace(profile, mounts=[*profile.mounts, Bind(source="/dev/pts", target="/dev/pts", device=True)]),
)

MODULE = """
def runs(address):
    return THROUGH if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 42 else ""

CODE = bytes.fromhex("b82a000000c3")
"""


class _Segment:
    """A segment of System V's shared memory, of the host's, that everyone may attach."""

    def __init__(self, secret: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        libc.shmdt.argtypes = [ctypes.c_void_p]
        self._libc = libc
        self.key = secrets.randbits(30)
        self._id = libc.shmget(self.key, 4096, 0o1666)
        address = libc.shmat(self._id, None, 0)
        ctypes.memmove(address, secret.encode(), len(secret))
        libc.shmdt(address)

    def remove(self) -> None:
        """Remove it."""
        self._libc.shmctl(self._id, 0, None)


@contextlib.contextmanager
def segment() -> Iterator[Bait]:
    """Shared memory of the host's, with a secret in it."""
    secret = secrets.token_hex(16)
    shared = _Segment(secret)
    yield Bait(secret=secret, key=shared.key)
    shared.remove()


@contextlib.contextmanager
def terminal() -> Iterator[Bait]:
    """A terminal of the host's, which everyone may write to; taken when its size was changed."""
    ours, theirs = pty.openpty()
    path = os.ttyname(theirs)
    os.chmod(path, 0o666)  # noqa: S103 — only the sandbox is to be in the way
    yield Bait(path=path, taken=lambda: struct.unpack("HHHH", ioctl(theirs, 0x5413, bytes(8)))[:2] == (7, 7))
    os.close(ours)
    os.close(theirs)


ATTACKS = [
    # ── Programs and rings ────────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="load a program into the kernel",
        source="""
            try:
                call("bpf", 0, 0, 1 << 20)
            except OSError as error:
                return THROUGH if error.errno == errno.E2BIG else ""  # the kernel's own answer to so large an argument
        """,
        held_by=[RINGS],
    ),
    Attack(
        name="make a ring of system calls",
        source="made = ctypes.create_string_buffer(120)\ncall('io_uring_setup', 4, ctypes.addressof(made))\nreturn THROUGH",
        held_by=[together("rings and their memory", RINGS, PINNED)],
        optional=True,
    ),
    Attack(
        name="see to its own page faults",
        source="call('userfaultfd', 1)\nreturn THROUGH",
        held_by=[RINGS],
        optional=True,
    ),
    Attack(
        name="count the processor's events",
        source="""
            wanted = ctypes.create_string_buffer(struct.pack("IIQQQQQ", 1, 128, 0, 0, 0, 0, 0x60), 128)
            call("perf_event_open", ctypes.addressof(wanted), 0, -1, -1, 0)
            return THROUGH
        """,
        held_by=[RINGS],
        optional=True,
    ),
    # ── Keys and shared memory ────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="leave a message in a keyring",
        source="""
            kind, name, text = (ctypes.create_string_buffer(word) for word in (b"user", b"ropewalk", b"through"))
            call("add_key", ctypes.addressof(kind), ctypes.addressof(name), ctypes.addressof(text), 7, -4)
        """,
        look="""
            kind, name, text = (ctypes.create_string_buffer(word) for word in (b"user", b"ropewalk", b"nothing"))
            call("keyctl", 1, 0)  # a session of its own, with the user's keyring in it: the one that this began in may not have it
            call("keyctl", 8, -4, -3)
            key = call("keyctl", 10, -4, ctypes.addressof(kind), ctypes.addressof(name), 0)
            call("keyctl", 11, key, ctypes.addressof(text), 7)
            return text.value.decode()
        """,
        held_by=[KEYS],
        optional=True,
    ),
    Attack(
        name="read shared memory of the host",
        source="""
            segment = call("shmget", given["key"], 4096, 0)
            return ctypes.string_at(call("shmat", segment, 0, 0o10000), 32).decode()
        """,
        bait=segment,
        held_by=[SHARING, namespace("ipc")],
        through=says_secret,
    ),
    Attack(
        name="leave shared memory behind",
        source="ctypes.memmove(call('shmat', call('shmget', 4711, 4096, 0o1666), 0, 0), b'through', 7)",
        look="return ctypes.string_at(call('shmat', call('shmget', 4711, 4096, 0), 0, 0), 7).decode()",
        held_by=[SHARING],
    ),
    Attack(
        name="leave a semaphore behind",
        source="call('semget', 4712, 1, 0o1666)",
        look="call('semget', 4712, 1, 0)\nreturn THROUGH",
        held_by=[SHARING],
    ),
    Attack(
        name="leave a message in a queue",
        source="""
            message = ctypes.create_string_buffer(struct.pack("q", 1) + b"through")
            call("msgsnd", call("msgget", 4713, 0o1666), ctypes.addressof(message), 7, 0)
        """,
        look="""
            message = ctypes.create_string_buffer(64)
            size = call("msgrcv", call("msgget", 4713, 0), ctypes.addressof(message), 56, 0, 0o4000)
            return message.raw[8 : 8 + size].decode()
        """,
        held_by=[SHARING],
    ),
    Attack(
        name="make a message queue with a name",
        source="name = ctypes.create_string_buffer(b'queue')\ncall('mq_open', ctypes.addressof(name), os.O_CREAT | os.O_RDWR, 0o600, 0)\nreturn THROUGH",
        held_by=[SHARING, limit(resource.RLIMIT_MSGQUEUE, 819_200), landlock()],
        optional=True,
    ),
    # ── The file tree and namespaces ──────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="mount over its bundle",
        source="""
            words = [ctypes.create_string_buffer(word) for word in (b"none", HERE.encode(), b"tmpfs")]
            call("mount", *map(ctypes.addressof, words), 0, 0)
            return THROUGH
        """,
        held_by=[MOUNTING, landlock(), privileges()],
    ),
    Attack(
        name="uncover what is mounted over",
        source="call('umount2', ctypes.addressof(path := ctypes.create_string_buffer(HERE.encode())), 2)\nreturn THROUGH",
        held_by=[MOUNTING, landlock(), privileges()],
    ),
    Attack(
        name="open a new file system",
        source="call('fsopen', ctypes.addressof(kind := ctypes.create_string_buffer(b'tmpfs')), 0)\nreturn THROUGH",
        held_by=[MOUNTING, privileges()],
    ),
    Attack(
        name="copy a part of the file tree",
        source="call('open_tree', -100, ctypes.addressof(path := ctypes.create_string_buffer(HERE.encode())), 1)\nreturn THROUGH",
        held_by=[MOUNTING, privileges()],
    ),
    Attack(
        name="make the file tree writable",
        source="""
            path, change = ctypes.create_string_buffer(HERE.encode()), (ctypes.c_uint64 * 4)(0, 1, 0, 0)
            call("mount_setattr", -100, ctypes.addressof(path), 0, ctypes.addressof(change), 32)
            return THROUGH
        """,
        held_by=[MOUNTING, privileges()],
    ),
    Attack(
        name="change its root",
        source="os.chroot(HERE)\nreturn THROUGH",
        held_by=[MOUNTING, privileges()],
    ),
    Attack(
        name="make a user namespace, to be root in it",
        source="call('unshare', 0x10000000)\nreturn THROUGH",
        held_by=[NAMESPACES],
    ),
    Attack(
        name="make a network namespace",
        source="call('unshare', 0x40000000)\nreturn THROUGH",
        held_by=[NAMESPACES, privileges()],
    ),
    Attack(
        name="enter the namespaces of the first process",
        source="call('setns', call('pidfd_open', 1, 0), 0x08000000 | 0x04000000)\nreturn THROUGH",
        held_by=[NAMESPACES, together("landlock and privileges", landlock(), privileges())],
    ),
    # ── Memory that runs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="write memory that runs",
        module=MODULE,
        source="""
            address = map_memory(READ | WRITE | EXECUTE, PRIVATE | ANONYMOUS)
            ctypes.memmove(address, CODE, len(CODE))
            return runs(address)
        """,
        held_by=[MEMORY],
    ),
    Attack(
        name="make memory run that was written",
        module=MODULE,
        source="""
            address = map_memory(READ | WRITE, PRIVATE | ANONYMOUS)
            ctypes.memmove(address, CODE, len(CODE))
            call("mprotect", address, 4096, READ | EXECUTE)
            return runs(address)
        """,
        held_by=[MEMORY],
    ),
    Attack(
        name="make memory run that was written, with a key",
        module=MODULE,
        source="""
            address = map_memory(READ | WRITE, PRIVATE | ANONYMOUS)
            ctypes.memmove(address, CODE, len(CODE))
            call("pkey_mprotect", address, 4096, READ | EXECUTE, -1)
            return runs(address)
        """,
        held_by=[MEMORY],
    ),
    Attack(
        name="change code that was read from a file",
        module=MODULE,
        source="""
            code = os.open(f"{HERE}/code", os.O_RDONLY)
            address = map_memory(READ | WRITE, PRIVATE, code)
            ctypes.memmove(address, CODE, len(CODE))
            call("mprotect", address, 4096, READ | EXECUTE)
            return runs(address)
        """,
        files={"code": bytes(64)},
        held_by=[MEMORY],
    ),
    Attack(
        name="run a file that is only memory",
        module=MODULE,
        source="""
            code = call("memfd_create", ctypes.addressof(name := ctypes.create_string_buffer(b"x")), 0)
            os.write(code, CODE)
            return runs(map_memory(READ | EXECUTE, PRIVATE, code))
        """,
        held_by=[MEMORY, limit(resource.RLIMIT_FSIZE)],
    ),
    Attack(
        name="run whatever can be read",
        module=MODULE,
        source="""
            call("personality", 0x0400000)
            address = map_memory(READ | WRITE, PRIVATE | ANONYMOUS)
            ctypes.memmove(address, CODE, len(CODE))
            return runs(address)
        """,
        held_by=[MEMORY],
    ),
    Attack(
        name="run shared memory",
        module=MODULE,
        source="""
            address = call("shmat", call("shmget", 0, 4096, 0o1700), 0, 0o100000)
            ctypes.memmove(address, CODE, len(CODE))
            return runs(address)
        """,
        held_by=[MEMORY],
    ),
    # ── Foreign numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="call by the 32-bit entry",
        source="return THROUGH if machine_code('code', ctypes.c_int, ctypes.c_int, ctypes.c_int)(20, 0) == os.getpid() else ''",
        files={"code": INT_80},
        held_by=[foreign_entries()],
    ),
    Attack(
        name="open a socket by the 32-bit entry",
        source="return THROUGH if machine_code('code', ctypes.c_int, ctypes.c_int, ctypes.c_int)(359, 1) != -1 else ''",
        files={"code": INT_80},
        held_by=[foreign_entries()],
    ),
    Attack(
        name="call by an x32 number",
        source="""
            try:
                call((1 << 30) | NUMBERS["getpid"])
            except OSError:
                pass  # this kernel has no x32: it was asked
            return THROUGH
        """,
        held_by=[foreign_entries()],
    ),
    Attack(
        name="call by a negative number",
        source="""
            try:
                call(-1)
            except OSError:
                pass
            return THROUGH
        """,
        held_by=[foreign_entries()],
    ),
    Attack(
        name="call by a number with something in its high half",
        source="os.close(call((1 << 40) | NUMBERS['socket'], 1, 1, 0))\nreturn THROUGH",
        held_by=[seccomp("socket")],
    ),
    # ── The filter itself ─────────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="have its system calls decided by a listener",
        source="""
            program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
            header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(program)))
            call("seccomp", 1, 8, ctypes.addressof(header))
            return THROUGH
        """,
        held_by=[FILTERS, no_fork()],
    ),
    Attack(
        name="add a filter",
        source="""
            program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
            header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(program)))
            call("prctl", 22, 2, ctypes.addressof(header), 0, 0)
            return THROUGH
        """,
        held_by=[FILTERS],
    ),
    # ── Odds and ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="change the host's terminal",
        source="""
            terminal = os.open(given["path"], os.O_RDONLY | os.O_NOCTTY)
            size = ctypes.create_string_buffer(struct.pack("HHHH", 7, 7, 0, 0))
            call("ioctl", terminal, 0x5414, ctypes.addressof(size))
        """,
        bait=terminal,
        held_by=[seccomp("ioctl"), TERMINALS, landlock()],
        through=bait_taken,
    ),
    Attack(
        name="ask a file for the size of its blocks",
        source="call('ioctl', os.open(f'{HERE}/twist.py', os.O_RDONLY), 2, ctypes.addressof(ctypes.c_int()))\nreturn THROUGH",
        held_by=[seccomp("ioctl")],
    ),
    Attack(
        name="change its segments",
        source="call('modify_ldt', 1, ctypes.addressof(ctypes.create_string_buffer(struct.pack('IIII', 0, 0, 0, 0x38))), 16)\nreturn THROUGH",
        held_by=[CPU],
        optional=True,
    ),
    Attack(
        name="move its thread's memory",
        source="call('arch_prctl', 0x1003, ctypes.addressof(ctypes.c_ulong()))\nreturn THROUGH",
        held_by=[CPU],
    ),
    Attack(
        name="pin memory",
        source="page = map_memory(READ | WRITE, PRIVATE | ANONYMOUS)\ncall('mlock', page, 4096)\nreturn THROUGH",
        held_by=[PAGES, PINNED],
    ),
    Attack(
        name="see which pages of a file others use",
        source="""
            library = os.open(os.__file__, os.O_RDONLY)
            seen = ctypes.create_string_buffer(1)
            call("mincore", map_memory(READ, PRIVATE, library), 4096, ctypes.addressof(seen))
            return THROUGH
        """,
        held_by=[PAGES],
    ),
    Attack(
        name="put a file's own pages into a pipe",
        source="call('splice', os.open(f'{HERE}/twist.py', os.O_RDONLY), 0, os.pipe()[1], 0, 100, 0)\nreturn THROUGH",
        held_by=[PAGES],
    ),
    Attack(
        name="hide memory from the kernel",
        source="call('memfd_secret', 0)\nreturn THROUGH",
        held_by=[PAGES],
        optional=True,
    ),
    Attack(
        name="lock a file that others use",
        source="import fcntl\nfcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX)\nreturn THROUGH",
        held_by=[LOCKS],
    ),
    Attack(
        name="lock a part of a file that others use",
        source="""
            import fcntl
            fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), fcntl.F_SETLK, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 1, 0))
            return THROUGH
        """,
        held_by=[LOCKS],
    ),
    Attack(
        name="lock a part of a file by a command hidden in the high half",
        source="""
            lock = ctypes.create_string_buffer(struct.pack("hhqqi", 0, 0, 0, 1, 0))
            call("fcntl", os.open(os.__file__, os.O_RDONLY), (1 << 32) | 6, ctypes.addressof(lock))
            return THROUGH
        """,
        held_by=[LOCKS],
    ),
    Attack(
        name="get a handle on the node",
        source="""
            handle, size = ctypes.c_int(), ctypes.c_int(4)
            call("getsockopt", 3, socket.SOL_SOCKET, 77, ctypes.addressof(handle), ctypes.addressof(size))
            return THROUGH
        """,
        held_by=[seccomp("getsockopt")],
        optional=True,
    ),
    Attack(
        name="send urgent data to the node",
        source="at = ctypes.addressof(ctypes.create_string_buffer(b'x'))\ncall('sendto', 3, at, 1, 1, 0, 0)\nreturn THROUGH",
        held_by=[seccomp("sendto")],
        optional=True,
    ),
    Attack(
        name="make a pipe for the kernel's notifications",
        source="call('pipe2', ctypes.addressof((ctypes.c_int * 2)()), os.O_EXCL)\nreturn THROUGH",
        held_by=[seccomp("pipe2")],
        optional=True,
    ),
    Attack(
        name="have its pages merged with others'",
        source="call('madvise', map_memory(READ | WRITE, PRIVATE | ANONYMOUS), 4096, 12)\nreturn THROUGH",
        held_by=[seccomp("madvise")],
    ),
    Attack(
        name="watch files that others use",
        source="""
            watch = call("inotify_init1", 0)
            call("inotify_add_watch", watch, ctypes.addressof(path := ctypes.create_string_buffer(os.__file__.encode())), 0x20)
            return THROUGH
        """,
        held_by=[seccomp("inotify_init1", "inotify_add_watch")],
    ),
    Attack(
        name="have the host's disks written",
        source="call('sync')\nreturn THROUGH",
        held_by=[seccomp("sync", "syncfs")],
    ),
]
