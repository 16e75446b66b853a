"""Twists that declare Network, whose processes may connect: past the door, to one another, and by what is like TCP."""

from __future__ import annotations

import socket
from typing import Any

from tests.escape.attacks.sockets import CALLS, NETWORK, abstract, opens, tcp, tcp6, udp
from tests.escape.guards import landlock, used_process
from tests.escape.harness import Attack, bait_taken

PORT = landlock(since=4)
"""Landlock's one port: none but the door listens on it, and none that connects gets it for its own end."""


def connects(name: str, source: str, **fields: Any) -> Attack:
    """Return an attack by a twist that declares Network."""
    module = f"from ropewalk.tools import Network\n{fields.pop('module', '')}"
    return Attack(name=name, source=source, module=module, members='network = Network(urls=["*"])', **fields)


ATTACKS = [
    connects(
        "with Network, connect to the host by TCP",
        "socket.create_connection(tuple(given['address']), 5)",
        bait=tcp,
        held_by=[NETWORK, PORT],
        through=bait_taken,
    ),
    connects(
        "with Network, connect to the host by TCP over IPv6",
        "socket.create_connection(tuple(given['address'][:2]), 5)",
        bait=tcp6,
        held_by=[CALLS, NETWORK, PORT],
        through=bait_taken,
    ),
    connects(
        "with Network, connect by sending",
        "socket.socket().sendto(b'hello', socket.MSG_FASTOPEN, tuple(given['address']))",
        bait=tcp,
        held_by=[CALLS, NETWORK],
        through=bait_taken,
    ),
    connects(
        "with Network, send a datagram to the host",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'hello', tuple(given['address']))",
        bait=udp,
        held_by=[CALLS, NETWORK],
        through=bait_taken,
    ),
    connects(
        "with Network, connect to an abstract name of the host's",
        "socket.socket(socket.AF_UNIX).connect(given['address'].replace('@', chr(0)))",
        bait=abstract(socket.SOCK_STREAM),
        held_by=[CALLS, NETWORK, landlock(since=6)],
        through=bait_taken,
    ),
    connects(
        "with Network, take a TCP port",
        opens("AF_INET", "SOCK_STREAM", "made.bind(('127.0.0.1', 0))", "made.listen()"),
        held_by=[CALLS, PORT],
    ),
    connects(
        "with Network, listen without taking a port",
        opens("AF_INET", "SOCK_STREAM", "made.listen()"),
        held_by=[CALLS],
    ),
    connects(
        "with Network, take a port by another protocol",
        opens("AF_INET", "SOCK_STREAM", "made.bind(('127.0.0.1', 0))", "made.listen()", protocol=262),
        held_by=[CALLS],
        optional=True,
    ),
    connects(
        "with Network, send what another process could be sent",
        opens("AF_INET", "SOCK_DGRAM", "made.bind(('127.0.0.1', 0))"),
        held_by=[CALLS],
    ),
    connects(
        # Two ends that connect to each other at the same moment are connected, without either listening. An end that connects to the port
        # that it is given by chance is the same with one process; with two it only takes more tries.
        "with Network, connect to another that connects",
        """
            until = time.monotonic() + 15
            while time.monotonic() < until:
                with socket.socket() as made:
                    try:
                        made.connect(("127.0.0.1", 40000))
                    except ConnectionRefusedError:
                        continue
                    made.send(b"hello")
                    return THROUGH if made.recv(5) == b"hello" else None
        """,
        held_by=[PORT],
        needs_namespaces=True,
    ),
    connects(
        "with Network, leave a connection to the next execution",
        "KEPT.append(socket.create_connection(('127.0.0.1', 3128)))",
        module="KEPT = []",
        look="""
            KEPT[0].sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
            return THROUGH if KEPT[0].recv(100) else None
        """,
        held_by=[used_process()],
        needs_namespaces=True,
    ),
    connects(
        "with Network, give a connection's buffer no bounds",
        """
            made = socket.create_connection(("127.0.0.1", 3128))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
            return THROUGH
        """,
        held_by=[CALLS],
    ),
]
