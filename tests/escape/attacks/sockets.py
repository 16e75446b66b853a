"""Sockets of every family: out of the sandbox, to the host, and to what else runs there."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator

from tests.escape.guards import landlock, mounts, namespace, privileges, seccomp
from tests.escape.harness import BAITS, Attack, Bait, bait_taken

CALLS = seccomp("socket", "socketpair", "bind", "listen", "connect", "sendto", "sendmsg", "setsockopt")
NETWORK = namespace("net")
FILES = mounts(str(BAITS), name="the host's files")

MACHINE_CODE = bytes.fromhex("4889f8 4889f7 4889d6 4889ca 4d89c2 4d89c8 0f05 c3")
"""A function that makes the system call of its first argument with the others."""


@contextlib.contextmanager
def listening(family: int, kind: int, address: object) -> Iterator[Bait]:
    """A server of the host's; taken when something came."""
    with socket.socket(family, kind) as server:
        server.bind(address)  # type: ignore[arg-type]  # of whatever form the family's addresses have
        server.setblocking(False)
        if kind != socket.SOCK_DGRAM:
            server.listen()
        yield Bait(address=_plain(server.getsockname()), taken=lambda: _came(server))


def _came(server: socket.socket) -> bool:
    try:
        if server.type == socket.SOCK_DGRAM:
            return bool(server.recv(100))
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _plain(address: object) -> object:
    return address.decode().replace("\0", "@") if isinstance(address, bytes) else address


def tcp() -> contextlib.AbstractContextManager[Bait]:
    """A TCP server on loopback."""
    return listening(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))


def tcp6() -> contextlib.AbstractContextManager[Bait]:
    """A TCP server on IPv6's loopback."""
    return listening(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))


def udp() -> contextlib.AbstractContextManager[Bait]:
    """A UDP server on loopback."""
    return listening(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))


def abstract(kind: int) -> Callable[[], contextlib.AbstractContextManager[Bait]]:
    """A server with an abstract name."""
    return lambda: listening(socket.AF_UNIX, kind, f"\0ropewalk-{secrets.token_hex(8)}")


@contextlib.contextmanager
def named() -> Iterator[Bait]:
    """A server with a name in the file tree, which everyone may connect to."""
    path = BAITS / "server"
    with listening(socket.AF_UNIX, socket.SOCK_STREAM, str(path)) as bait:
        path.chmod(0o777)
        yield bait
    path.unlink()


def opens(family: str, kind: str, *further: str, protocol: int = 0) -> str:
    """Return the source of an attack that opens a socket."""
    return "\n".join([f"made = socket.socket(socket.{family}, socket.{kind}, {protocol})", *further, "return THROUGH"])


ATTACKS = [
    Attack(
        name="connect to the host by TCP",
        source="socket.create_connection(tuple(given['address']), 5)",
        bait=tcp,
        held_by=[CALLS, NETWORK, landlock(since=4)],
        through=bait_taken,
    ),
    Attack(
        name="connect to the host by TCP over IPv6",
        source="socket.create_connection(tuple(given['address'][:2]), 5)",
        bait=tcp6,
        held_by=[CALLS, NETWORK, landlock(since=4)],
        through=bait_taken,
    ),
    Attack(
        name="connect without blocking",
        source="""
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex(tuple(given["address"]))
        """,
        bait=tcp,
        held_by=[CALLS, NETWORK, landlock(since=4)],
        through=bait_taken,
    ),
    Attack(
        name="connect by an HTTP library",
        source="""
            import urllib.request
            urllib.request.urlopen("http://%s:%d/" % tuple(given["address"]), timeout=1)
        """,
        bait=tcp,
        held_by=[CALLS, NETWORK, landlock(since=4)],
        through=bait_taken,
    ),
    Attack(
        name="connect by an event loop",
        source="""
            import asyncio
            await asyncio.open_connection(*given["address"])
        """,
        bait=tcp,
        held_by=[CALLS, NETWORK, landlock(since=4)],
        through=bait_taken,
    ),
    Attack(
        name="connect by machine code of its own",
        source="""
            syscall = machine_code("code", *[ctypes.c_long] * 7)
            host, port = given["address"]
            made = syscall(NUMBERS["socket"], 2, 1, 0, 0, 0)
            address = ctypes.create_string_buffer(struct.pack("=H", 2) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8))
            syscall(NUMBERS["connect"], made, ctypes.addressof(address), 16, 0, 0)
        """,
        files={"code": MACHINE_CODE},
        bait=tcp,
        held_by=[CALLS, NETWORK, landlock(since=4)],
        through=bait_taken,
    ),
    Attack(
        name="send a datagram to the host",
        source="socket.socket(type=socket.SOCK_DGRAM).sendto(b'hello', tuple(given['address']))",
        bait=udp,
        held_by=[CALLS, NETWORK],
        through=bait_taken,
    ),
    Attack(
        name="connect to an abstract name of the host's",
        source="socket.socket(socket.AF_UNIX).connect(given['address'].replace('@', chr(0)))",
        bait=abstract(socket.SOCK_STREAM),
        held_by=[CALLS, NETWORK, landlock(since=6)],
        through=bait_taken,
    ),
    Attack(
        name="send to an abstract name of the host's",
        source="socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'hello', given['address'].replace('@', chr(0)))",
        bait=abstract(socket.SOCK_DGRAM),
        held_by=[CALLS, NETWORK, landlock(since=6)],
        through=bait_taken,
    ),
    Attack(
        name="connect to a socket in the host's files",
        source="socket.socket(socket.AF_UNIX).connect(given['address'])",
        bait=named,
        held_by=[CALLS, FILES],
        through=bait_taken,
    ),
    Attack(
        name="take a name that others connect to",
        source=opens("AF_UNIX", "SOCK_STREAM", r"made.bind('\0ropewalk-here')", "made.listen()"),
        held_by=[CALLS],
    ),
    Attack(
        name="take a TCP port",
        source=opens("AF_INET", "SOCK_STREAM", "made.bind(('127.0.0.1', 0))", "made.listen()"),
        held_by=[CALLS, landlock(since=4)],
    ),
    Attack(
        name="make a pair that keeps messages apart",
        source="socket.socketpair(type=socket.SOCK_SEQPACKET)\nreturn THROUGH",
        held_by=[CALLS],
    ),
    Attack(
        name="make a pair with a family hidden in the high half",
        source="pair = (ctypes.c_int * 2)()\ncall('socketpair', (1 << 32) | 1, 2, 0, ctypes.addressof(pair))\nreturn THROUGH",
        held_by=[CALLS],
    ),
    Attack(
        name="send a descriptor to the host",
        source="""
            ours = socket.socket(fileno=3)
            try:
                message = socket.send_fds(ours, [b""], [os.open("/dev/null", os.O_RDONLY)])
            finally:
                ours.detach()
            return THROUGH
        """,
        held_by=[CALLS],
    ),
    Attack(
        name="give its connection a buffer without bounds",
        source="""
            ours = socket.socket(fileno=3)
            before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            try:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
            finally:
                ours.detach()
            return THROUGH
        """,
        held_by=[CALLS],
    ),
    Attack(
        name="ask the kernel for its interfaces by netlink",
        source=opens("AF_NETLINK", "SOCK_RAW", "made.bind((0, 0))"),
        held_by=[CALLS],
    ),
    Attack(
        name="listen to the kernel's device events",
        source=opens("AF_NETLINK", "SOCK_DGRAM", "made.bind((0, 1))", protocol=15),
        held_by=[CALLS],
    ),
    Attack(
        name="watch packets",
        source=opens("AF_PACKET", "SOCK_RAW"),
        held_by=[CALLS, privileges()],
    ),
    Attack(
        name="make packets",
        source=opens("AF_INET", "SOCK_RAW", protocol=1),
        held_by=[CALLS, privileges()],
    ),
    Attack(
        name="reach the hypervisor",
        source=opens("AF_VSOCK", "SOCK_STREAM"),
        held_by=[CALLS],
        optional=True,
    ),
    Attack(
        name="use the kernel's ciphers",
        source=opens("AF_ALG", "SOCK_SEQPACKET"),
        held_by=[CALLS],
        optional=True,
    ),
    Attack(
        name="share packets with a device",
        source="socket.socket(44, socket.SOCK_RAW)\nreturn THROUGH",
        held_by=[CALLS, privileges()],
        optional=True,
    ),
]
