"""Whose the other end of a TCP connection is, by the kernel's word: the inode of its socket, which only who holds it has among its descriptors.

The question goes over a netlink socket of the network namespace that is asked about (sock_diag(7)), for one connection by its four numbers:
it costs the same however many there are, and no byte of either end has a say. Before: `doorway`, which accepts connections.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

Address = tuple[str, int]
"""An IPv4 address and a port."""

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_ALL_STATES: Final = 0xFFFF_FFFF
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST: Final = struct.Struct("=BBBBI")  # the beginning of struct inet_diag_req_v2
_PORTS: Final = struct.Struct("!HH")  # the beginning of struct inet_diag_sockid: source, destination
_REST_OF_ID: Final = struct.pack("=I8s", 0, b"\xff" * 8)  # any interface, INET_DIAG_NOCOOKIE
_INODE_AT: Final = _HEADER.size + 68  # in struct inet_diag_msg
_INODE: Final = struct.Struct("=I")


def inode_of(diag: socket.socket, mine: Address, peer: Address) -> int | None:
    """Return the inode of the socket at the address `mine` that is connected to `peer`, both in the namespace of `diag`; None without one."""
    body = (
        _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ALL_STATES)
        + _PORTS.pack(mine[1], peer[1])
        + b"".join(socket.inet_aton(address) + bytes(12) for address, _ in (mine, peer))
        + _REST_OF_ID
    )
    diag.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + body)
    answer = diag.recv(8192)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    inode: int = _INODE.unpack_from(answer, _INODE_AT)[0]
    return inode or None  # one that nobody holds any more has none


def can_be_found() -> bool:
    """Try it, on a connection to oneself."""
    try:
        with (
            socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag,
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
        ):
            return inode_of(diag, client.getsockname(), server.getsockname()) == os.fstat(client.fileno()).st_ino
    except OSError:
        return False
