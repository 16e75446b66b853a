"""The system calls that the standard library has no name for, each as a plain function that raises OSError.

Only what makes the sandbox calls them: entering it (`enter`), confining a version zygote (`zygote`), and forking an attempt. Numbers are
those of x86_64, which `sandbox.profile` checks for.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
from collections.abc import Iterable
from typing import Final

from ropewalk.wire.plan import BUNDLE, IdMap, Ruleset

CLONE_NEWNS: Final = 0x0002_0000
CLONE_PARENT: Final = 0x0000_8000
CLONE_CHILD_CLEARTID: Final = 0x0020_0000
CLONE_CHILD_SETTID: Final = 0x0100_0000

MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x4_0000
MS_NOSUID_NODEV: Final = 0x2 | 0x4
MNT_DETACH: Final = 0x2
MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4

NETLINK_SOCK_DIAG: Final = 4
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1

MAP_FIXED: Final = 0x10
_MADV_COLLAPSE: Final = 25
_ATTEMPTS: Final = 100

_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_TID_ADDRESS: Final = 40
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SYS_CLONE: Final = 56
_SYS_CAPSET: Final = 126
_SYS_PIVOT_ROOT: Final = 155
_SYS_SECCOMP: Final = 317
_SYS_CLOSE_RANGE: Final = 436
_SYS_MOUNT_SETATTR: Final = 442
_SYS_LANDLOCK_CREATE_RULESET: Final = 444
_SYS_LANDLOCK_ADD_RULE: Final = 445
_SYS_LANDLOCK_RESTRICT_SELF: Final = 446
_SECCOMP_SET_MODE_FILTER: Final = 1
_LANDLOCK_RULE_PATH_BENEATH: Final = 1
_LANDLOCK_RULE_NET_PORT: Final = 2
_LANDLOCK_CONNECT_TCP: Final = 0x2
# execute, write_file, read_file, truncate, ioctl_dev: the others mean something for folders only, and are refused for files.
_LANDLOCK_FOR_FILES: Final = 0x1 | 0x2 | 0x4 | 0x4000 | 0x8000
_CAPABILITY_VERSION_3: Final = 0x2008_0522
_LAST_CAPABILITY: Final = 63
_TOP: Final = 0xFFFF_FFFF

# PyDLL keeps the interpreter's lock during a call. That is what makes `clone` safe to call from Python: the child finds the lock held by
# the only thread it has, and none of Python's own fork hooks has run.
_libc: Final = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [ctypes.c_long] * 6
_libc.dlopen.restype = ctypes.c_void_p
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


# Without errno's bookkeeping: each thing that a new process touches first is a page copied.
_clone: Final = ctypes.PyDLL(None)["syscall"]
_clone.restype = ctypes.c_long
_clone.argtypes = [ctypes.c_long] * 6


def _checked(result: int, doing: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{doing}: {os.strerror(code)}")
    return result


def _call(doing: str, number: int, *arguments: int) -> int:
    padded = (*arguments, 0, 0, 0, 0, 0)[:5]
    return _checked(_libc.syscall(number, *padded), doing)


def _prctl(doing: str, option: int, *arguments: int) -> int:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(_libc.prctl(option, *padded), doing)


# ── Processes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def clone(flags: int, tid_address: int = 0) -> int:
    """Fork without Python's fork hooks, from a process of one thread; return 0 in the child.

    `tid_address` is where the C library keeps the thread's number, from `tid_address`; with it the flags include `CLONE_CHILD_SETTID` and
    `CLONE_CHILD_CLEARTID`.
    """
    pid: int = _clone(_SYS_CLONE, flags, 0, 0, tid_address, 0)
    if pid < 0:
        raise OSError(errno.EAGAIN, "the system has no room for another process")
    return pid


def tid_address() -> int:
    """Return where the C library keeps the main thread's number, which a raw clone must renew in the child."""
    found = ctypes.c_ulong()
    _prctl("find the thread's number", _PR_GET_TID_ADDRESS, ctypes.addressof(found))
    return found.value


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    _call("close_range", _SYS_CLOSE_RANGE, first, _TOP, 0)


def die_with_parent(signal: int) -> None:
    """Have `signal` sent to this process when the thread that made it ends."""
    _prctl("set the parent-death signal", _PR_SET_PDEATHSIG, signal)


def program_handle() -> int | None:
    """Return what `dlopen` says of the program itself."""
    handle: int | None = _libc.dlopen(None, os.RTLD_NOW)
    return handle


def protect(start: int, length: int, protection: int) -> None:
    """Say what may be done with a range of memory, in whole pages, as PROT_ bits."""
    address, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
    _checked(_libc.mprotect(address, size, protection), f"protect {length:,} bytes")


def show(file: int, start: int, length: int) -> None:
    """Map so much of `file` at `start`, in place of what is there, to be read and written by all who map it so."""
    found = _libc.mmap(start, length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | MAP_FIXED, file, 0)
    _checked(0 if found == start else -1, f"map {length:,} bytes of a file")


def make_large(start: int, length: int) -> None:
    """Have large pages in place of the small ones that are mapped there, where the file's pages are."""
    for _ in range(_ATTEMPTS):
        if not _libc.madvise(start, length, _MADV_COLLAPSE):
            return
        if ctypes.get_errno() != errno.EAGAIN:  # else a page was in somebody's hands for a moment
            break
    _checked(-1, f"make {length:,} bytes of large pages")


# ── Network ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def bring_up(device: str) -> None:
    """Set a network device of this network namespace going; an address comes with it for loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", device.encode(), 0))
        _, flags = struct.unpack("16sH14x", asked)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", device.encode(), flags | _IFF_UP))


# ── Namespaces and mounts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for new ones."""
    _checked(_libc.unshare(flags), "unshare")


def write_id_map(pid: int, kind: str, lines: Iterable[IdMap]) -> None:
    """Write the `uid` or `gid` map of the user namespace that `pid` has just got."""
    text = "".join(f"{line.inside} {line.outside} 1\n" for line in lines)
    _write(f"/proc/{pid}/{kind}_map", text)


def deny_setgroups(pid: int) -> None:
    """Give up changing groups in `pid`'s user namespace: without privileges outside, its gid map cannot be written before."""
    _write(f"/proc/{pid}/setgroups", "deny")


def _write(path: str, text: str) -> None:
    # A map must arrive in one write, which a file object does not promise.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Show `source`, or a new file system of `kind`, at `target`."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _checked(result, f"mount {source} at {target}")


def set_mount_attributes(target: str, attributes: int, *, below: bool) -> None:
    """Add attributes (`MOUNT_ATTR_…`) to the mount at `target`, and to those below it."""
    words = struct.pack("QQQQ", attributes, 0, 0, 0)
    held, path = ctypes.create_string_buffer(words, len(words)), ctypes.create_string_buffer(os.fsencode(target))
    flags = _AT_RECURSIVE if below else 0
    addresses = ctypes.addressof(path), ctypes.addressof(held)
    _call(f"protect {target}", _SYS_MOUNT_SETATTR, _AT_FDCWD, addresses[0], flags, addresses[1], len(words))


def detach(target: str) -> None:
    """Take the mount at `target`, and all below it, out of sight."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"detach {target}")


def pivot_root(new: str, old: str) -> None:
    """Make the mount at `new` the root and put what was the root at `old`, below it."""
    buffers = [ctypes.create_string_buffer(os.fsencode(path)) for path in (new, old)]
    _call(f"pivot to {new}", _SYS_PIVOT_ROOT, *(ctypes.addressof(buffer) for buffer in buffers))


# ── Privileges and filters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def drop_privileges(user: int | None) -> None:
    """Become `user` (and the group of that number), with no capability left and none to be had again."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            _prctl("drop a capability", _PR_CAPBSET_DROP, capability)
        except OSError:  # the kernel knows fewer capabilities than there could be
            break
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl("clear the ambient capabilities", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), 8)
    nothing = ctypes.create_string_buffer(24)
    _call("drop all capabilities", _SYS_CAPSET, ctypes.addressof(header), ctypes.addressof(nothing))
    _prctl("forbid new privileges", _PR_SET_NO_NEW_PRIVS, 1)


def forbid_dumps() -> None:
    """Have nobody read this process's memory who has no power over its user namespace."""
    _prctl("forbid dumps", _PR_SET_DUMPABLE, 0)


class Program:
    """A BPF program, laid out in memory as the kernel wants it, so that installing it costs one call."""

    def __init__(self, code: bytes) -> None:
        self._code = ctypes.create_string_buffer(code, len(code))
        self._header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(self._code)), 16)
        self._address = ctypes.addressof(self._header)

    def install(self) -> None:
        """Filter the system calls of this process, and of its children, with this program from now on."""
        _call("install a filter", _SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, 0, self._address)


def restrict(ruleset: Ruleset, bundle: str) -> None:
    """Apply landlock rules to this process and its children, `bundle` in the place that rules keep for it. Needs no-new-privileges."""
    words = struct.pack("QQQ", ruleset.handled_fs, ruleset.handled_net, ruleset.scoped)
    # An older kernel takes a longer structure when what it doesn't know is zero.
    held = ctypes.create_string_buffer(words, len(words))
    fd = _call("make a landlock ruleset", _SYS_LANDLOCK_CREATE_RULESET, ctypes.addressof(held), len(words), 0)
    try:
        for rule in ruleset.rules:
            _allow(fd, rule.path.replace(BUNDLE, bundle), rule.access)
        for port in ruleset.connect:
            _allow_to_connect(fd, port)
        _call("apply the landlock ruleset", _SYS_LANDLOCK_RESTRICT_SELF, fd, 0)
    finally:
        os.close(fd)


def _allow(ruleset: int, name: str, allowed: int) -> None:
    path = os.open(name, os.O_PATH | os.O_CLOEXEC)
    try:
        folder = stat.S_ISDIR(os.fstat(path).st_mode)
        access = allowed if folder else allowed & _LANDLOCK_FOR_FILES
        held = ctypes.create_string_buffer(struct.pack("=Qi", access, path), 12)
        doing = f"allow {name}"
        _call(doing, _SYS_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, ctypes.addressof(held), 0)
    finally:
        os.close(path)


def _allow_to_connect(ruleset: int, port: int) -> None:
    held = ctypes.create_string_buffer(struct.pack("QQ", _LANDLOCK_CONNECT_TCP, port), 16)
    doing = f"allow connections to port {port}"
    _call(doing, _SYS_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_NET_PORT, ctypes.addressof(held), 0)
